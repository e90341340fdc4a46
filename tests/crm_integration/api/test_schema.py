"""The OpenAPI document: whole, kept by every answer, attacked by schemathesis, and shown without the internet."""

from __future__ import annotations

import re

import jsonschema
import pytest
import schemathesis
from django.core.management import call_command
from django.urls import reverse
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.wsgi import application
from tests.crm_integration.api import world
from tests.crm_integration.api.test_routes import ROUTES, ask

pytestmark = pytest.mark.django_db
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
EXAMPLES = {"everything": 20, "reading": 5, "nobody": 5}


@pytest.fixture
def document(client, db):
    return client.get("/api/schema/").json()


def test_the_document_is_valid_and_says_everything(tmp_path):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "openapi.yaml"))


def operations(document):
    return {
        (path, method): operation
        for path, found in document["paths"].items()
        for method, operation in found.items()
    }


def test_every_route_is_described_with_its_scope_and_its_refusals(document):
    described = operations(document)
    assert len(described) == len(ROUTES)
    for operation in described.values():
        assert {"400", "401", "403", "429", "503"} <= set(operation["responses"])
        assert "Needs the scope" in operation["description"] or "Any token." in operation["description"]
        assert operation["security"] == [{"token": []}]


@pytest.mark.parametrize(("name", "method"), [key for key in ROUTES if ROUTES[key][2] < 300])
def test_every_answer_is_as_described(client, document, name, method):
    rows = world.filled()
    scope, body, status = ROUTES[name, method]
    answer = ask(client, name, method, body, rows, **world.bearer(world.token(connection=world.sender())))
    template = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route(name))
    content = document["paths"][f"/api/{template}"][method]["responses"][str(status)]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json())


def route(name):
    from crm_integration.api.urls import urlpatterns

    return next(str(pattern.pattern) for pattern in urlpatterns if pattern.name == name)


@pytest.fixture
def openapi(db):
    world.filled()
    return schemathesis.openapi.from_wsgi("/api/schema/", application)


schema = schemathesis.pytest.from_fixture("openapi")


def attacked(kind):
    patient = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(
        max_examples=EXAMPLES[kind],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=patient,
    )


@schema.parametrize()
@attacked("everything")
def test_no_request_of_a_mighty_token_breaks_it(case, mighty):
    case.call_and_validate(headers=mighty, checks=CHECKS)


@schema.parametrize()
@attacked("reading")
def test_no_request_of_a_reader_breaks_it(case, reading):
    case.call_and_validate(headers=reading, checks=CHECKS)


@schema.parametrize()
@attacked("nobody")
def test_no_request_of_a_stranger_is_served(case):
    answer = case.call(headers={"Authorization": "Bearer tw_none"})
    case.validate_response(answer, checks=CHECKS)
    assert answer.status_code in {400, 401, 406}


@pytest.fixture
def mighty(openapi):
    return {"Authorization": f"Bearer {world.token(per_minute=100_000)}"}


@pytest.fixture
def reading(openapi):
    return {"Authorization": f"Bearer {world.token(world.READING, per_minute=100_000)}"}


def test_the_page_fetches_nothing_from_elsewhere_and_holds_no_inline_script(client):
    answer = client.get(reverse("api_docs"), headers={"accept": "text/html"})
    page = answer.content.decode()
    assert answer.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    assert all(source.startswith("/") and not source.startswith("//") for source in sources)
    assert not [
        script for script in re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) if script.strip()
    ]
    script = client.get(reverse("api_docs"), {"script": ""}, headers={"accept": "*/*"}).content.decode()
    assert "http://" not in script
    assert "https://" not in script
    for source in sources:
        assert client.get(source, headers={"accept": "*/*"}).status_code == 200, source
