"""Whatever goes wrong is told as problem details, and nothing is given away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest
from django.db import OperationalError

from crm_integration.api import schema
from crm_integration.api.views import jobs
from tests.crm_integration.api import world

pytestmark = pytest.mark.django_db


def told(answer):
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["title"]
    assert problem["detail"]
    return problem["type"].removeprefix("urn:tierwise:problem:")


@pytest.mark.parametrize(
    "path", ["/api/", "/api/nothing/", "/api/customers", "/api/decisions/x/", "/api/a/b.html"]
)
@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_an_address_that_does_not_exist(client, method, path):
    answer = getattr(client, method)(path, headers={"accept": "text/html"})
    assert (answer.status_code, told(answer)) == (404, "not_found")


@pytest.mark.parametrize("pk", [0, 10**18, 10**30])
def test_an_id_that_no_row_has(api, pk):
    for path in ("decisions", "trainings", "models", "deliveries", "messages", "classifications", "imports"):
        answer = api.get(f"/api/{path}/{pk}/")
        assert (path, answer.status_code) == (path, 404)
        assert told(answer) == "not_found"


def test_another_format_than_json_is_not_given(api):
    answer = api.get("/api/customers/", headers={"accept": "text/html"})
    assert (answer.status_code, told(answer)) == (406, "not_acceptable")
    assert api.get("/api/customers/", format="xml").status_code == 400


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Basic eDp5", "Token tw_x", "Bearer \xe9", "Bearer " + "x" * 9000]
)
def test_an_authorization_that_is_none(client, header, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = client.get("/api/customers/", headers={"authorization": header})
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    told(answer)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [(OperationalError("secret"), 503, "unavailable"), (RuntimeError("secret"), 500, "internal")],
)
def test_our_own_trouble_is_told_without_its_details(api, monkeypatch, error, status, kind):
    def fail(*args):
        raise error

    monkeypatch.setattr(jobs.ImportsView, "rows", fail)
    answer = api.get("/api/imports/")
    assert (answer.status_code, told(answer)) == (status, kind)
    assert "secret" not in answer.content.decode()
    assert answer.get("Retry-After") == ("5" if status == 503 else None)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/trainings/", {}, "targets"),
        ("/api/trainings/", {"targets": ["no"]}, "targets"),
        ("/api/trainings/", {"targets": ["churn"], "preset": "huge"}, "preset"),
        ("/api/trainings/", {"targets": ["churn"], "seed": -1}, "seed"),
        ("/api/classifications/", {"as_of": "yesterday"}, "as_of"),
        ("/api/customers/lookup/", {"email": ""}, "email"),
        ("/api/customers/lookup/", {"email": "a\x00b"}, "email"),
    ],
)
def test_a_field_that_is_wrong_is_named(api, path, body, field):
    answer = api.post(path, body)
    assert (answer.status_code, told(answer)) == (400, "invalid")
    assert [error["field"].split(".")[0] for error in answer.json()["errors"]] == [field]


def test_a_day_that_cannot_be_classified(api):
    world.filled()
    answer = api.post("/api/classifications/", {"as_of": "2999-01-01"})
    assert (answer.status_code, told(answer)) == (422, "unprocessable")


def test_two_readers_of_the_document_at_once_do_not_get_in_each_others_way(monkeypatch):
    """Its library is half ready while it builds: a second thread that built beside it was told of an error."""
    inside, most = 0, 0

    def build(*_arguments, **_options):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        sleep(0.05)
        inside -= 1
        return {}

    monkeypatch.setattr(schema.SchemaGenerator, "get_schema", build)
    schema._built.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(schema._document, ["en"] * 4))
    schema._built.cache_clear()
    assert most == 1
