"""The OpenAPI document: whole, kept by every answer, attacked by schemathesis, and shown without the internet."""

from __future__ import annotations

import os
import re

import jsonschema
import pytest
import schemathesis
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.wsgi import doors as application
from crm_integration.api.urls import urlpatterns
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
# `make faults` makes 500 an operation.
EXAMPLES = {"everything": int(os.environ.get("API_EXAMPLES", "20")), "needed": 5, "lacking": 3, "reading": 5}
STRANGERS = {"nothing": 5, "expired": 2}


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
    content = document["paths"][f"/api/{template(name)}"][method]["responses"][str(status)]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json())


def template(name):
    route = next(str(pattern.pattern) for pattern in urlpatterns if pattern.name == name)
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)


@pytest.fixture
def quiet_connections():
    """A server closes connections between requests; here requests and test share one."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.parametrize(("name", "method"), list(ROUTES))
def test_no_request_whatsoever_breaks_it(document, quiet_connections, name, method):
    """Made from the document, by tokens of every kind; the same requests every time."""
    world.filled()
    openapi = schemathesis.openapi.from_dict(document)
    openapi.app = application
    operation = openapi[f"/api/{template(name)}"][method.upper()]
    scope = ROUTES[name, method][0]
    tokens = {
        "everything": world.token(per_minute=100_000),
        "needed": world.token([scope or "offers:read"], per_minute=100_000),
        "lacking": world.token(world.ALL - {scope}, per_minute=100_000),
        "reading": world.token(world.READING, per_minute=100_000),
        "nothing": "tw_nothing",
        "expired": world.expired(),
    }
    for held, text in tokens.items():
        attack(operation, held, {"Authorization": f"Bearer {text}"}, may=scope is None or held != "lacking")


def attack(operation, held, headers, *, may):
    @settings(
        max_examples={**EXAMPLES, **STRANGERS}[held], derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def once(case):
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS, headers=headers)
        # 404: what stands where a short name belongs is none, so there is no such address.
        assert held not in STRANGERS or answer.status_code in {400, 401, 404, 406}
        assert may or answer.status_code >= 400

    once()


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
