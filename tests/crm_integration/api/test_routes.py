"""Every address with every kind of token. The list comes from the URLconf: a new route fails until it is listed here."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.urls import reverse

from crm_integration.api.urls import urlpatterns
from crm_integration.models import Scope
from tests.crm_integration.api import world

pytestmark = pytest.mark.django_db

EVENT = {"type": "ping", "timestamp": "2026-11-01T10:00:00Z", "data": {}}
CUSTOMER = {"type": "customer.updated", "timestamp": "2026-11-01T10:00:00Z", "data": {"reference": "C-1"}}


class Form(dict):
    """Fields beside a file of orders."""


# Route and method → the scope it needs (None: any token), the body to send, the status it answers with.
ROUTES = {
    ("api_token", "get"): (None, None, 200),
    ("api_events", "post"): ("events:write", EVENT, 202),
    ("api_message", "get"): (None, None, 200),
    ("api_customers", "get"): ("customers:read", None, 200),
    ("api_customers", "post"): ("customers:write", CUSTOMER, 202),
    ("api_lookup", "post"): ("contact:read", {"email": "eva@example.com"}, 200),
    ("api_next_action", "get"): ("decisions:read", None, 200),
    ("api_why", "get"): ("decisions:read", None, 200),
    ("api_customer_events", "get"): ("events:read", None, 200),
    ("api_customer_scores", "get"): ("scores:read", None, 200),
    ("api_contact", "get"): ("contact:read", None, 200),
    ("api_customer", "get"): ("customers:read", None, 200),
    ("api_scores", "get"): ("scores:read", None, 200),
    ("api_decisions", "get"): ("decisions:read", None, 200),
    ("api_decision", "get"): ("decisions:read", None, 200),
    ("api_service_priorities", "get"): ("decisions:read", None, 200),
    ("api_segments", "get"): ("segments:read", None, 200),
    ("api_segment", "get"): ("segments:read", None, 200),
    ("api_members", "get"): ("segments:read", None, 200),
    ("api_campaign_results", "get"): ("decisions:read", None, 200),
    ("api_campaign_results", "post"): ("jobs:run", {"window_days": 14}, 202),
    ("api_offers", "get"): ("offers:read", None, 200),
    ("api_offer", "get"): ("offers:read", None, 200),
    ("api_products", "get"): ("products:read", None, 200),
    ("api_product", "get"): ("products:read", None, 200),
    ("api_trainings", "get"): ("jobs:read", None, 200),
    ("api_trainings", "post"): ("jobs:run", {"targets": ["churn"]}, 422),
    ("api_training", "get"): ("jobs:read", None, 200),
    ("api_cancel_training", "post"): ("jobs:run", None, 200),
    ("api_classifications", "get"): ("jobs:read", None, 200),
    ("api_classifications", "post"): ("jobs:run", {}, 202),
    ("api_classification", "get"): ("jobs:read", None, 200),
    ("api_cancel_classification", "post"): ("jobs:run", None, 200),
    ("api_estimates", "get"): ("jobs:read", None, 200),
    ("api_estimates", "post"): ("jobs:run", {"campaign": "drawn", "offer": "drawn"}, 202),
    ("api_estimate", "get"): ("jobs:read", None, 200),
    ("api_imports", "get"): ("jobs:read", None, 200),
    ("api_imports", "post"): ("imports:run", Form(preset="tierwise"), 202),
    ("api_import", "get"): ("jobs:read", None, 200),
    ("api_cancel_import", "post"): ("jobs:run", None, 200),
    ("api_outlooks", "get"): ("jobs:read", None, 200),
    ("api_outlooks", "post"): ("jobs:run", {"weeks": 8}, 202),
    ("api_outlook", "get"): ("jobs:read", None, 200),
    ("api_models", "get"): ("models:read", None, 200),
    ("api_model", "get"): ("models:read", None, 200),
    ("api_deliveries", "get"): ("deliveries:read", None, 200),
    ("api_delivery", "get"): ("deliveries:read", None, 200),
    ("api_privacy_requests", "post"): ("privacy:run", {"kind": "export", "customer": "K-100"}, 202),
    ("api_privacy_request", "get"): ("privacy:run", None, 200),
    ("api_privacy_document", "get"): ("privacy:run", None, 200),
}
# Open to everybody, since they hold no data: the document, the page that shows it, and what does not exist.
OPEN = {"api_schema", "api_docs", "api_nowhere"}
METHODS = ("get", "post", "put", "patch", "delete", "options", "trace")
CASES = [pytest.param(*key, *value, id=f"{key[1]} {key[0]}") for key, value in ROUTES.items()]


def answered(pattern):
    view = pattern.callback.cls
    return {method for method in METHODS if hasattr(view, method) and method in view.http_method_names}


def rows_now():
    """How many rows there are of everything, but for the audit of looks and the counting of requests."""
    counted = [
        model
        for app in ("segmentation", "crm_integration")
        for model in apps.get_app_config(app).get_models()
    ]
    return {model.__name__: model._default_manager.count() for model in counted}


def ask(client, name, method, body, rows, **headers):
    address = reverse(name, args=rows.get(name))
    if isinstance(body, Form):
        return getattr(client, method)(address, {**body, "file": world.orders()}, headers=headers)
    given = {"data": body} if body is not None else {}
    return getattr(client, method)(address, content_type="application/json", headers=headers, **given)


def test_every_route_and_method_is_listed_here():
    found = {
        (pattern.name, method)
        for pattern in urlpatterns
        if pattern.name not in OPEN
        for method in answered(pattern)
    }
    assert found == set(ROUTES)


def test_every_scope_opens_something():
    assert {scope for scope, _body, _status in ROUTES.values() if scope} == set(Scope.values)


@pytest.mark.parametrize(("name", "method", "scope", "body", "status"), CASES)
def test_the_right_scope_alone_opens_it(client, name, method, scope, body, status):
    rows = world.filled()
    text = world.token([scope or "offers:read"], connection=world.sender())
    answer = ask(client, name, method, body, rows, **world.bearer(text))
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == ("application/json" if status < 400 else "application/problem+json")


@pytest.mark.parametrize(("name", "method", "scope", "body", "status"), CASES)
def test_nobody_else_gets_in_and_nothing_changes(client, admin_user, name, method, scope, body, status):
    rows = world.filled()
    held = {
        "wrong": "tw_wrong",
        "forged": world.token()[:-3] + "AAA",
        "expired": world.expired(),
        "revoked": world.revoked(),
        "anonymous": "",
    }
    lacking = world.token(world.ALL - {scope}, connection=world.sender())
    client.force_login(admin_user)  # a session of the console opens nothing here
    before = rows_now()
    for who, text in held.items():
        answer = ask(client, name, method, body, rows, **(world.bearer(text) if text else {}))
        assert (who, answer.status_code) == (who, 401)
        assert answer["Content-Type"] == "application/problem+json"
        assert answer["WWW-Authenticate"] == "Bearer"
    if scope is not None:
        answer = ask(client, name, method, body, rows, **world.bearer(lacking))
        assert answer.status_code == 403
        assert scope in answer.json()["detail"]
    assert rows_now() == before


@pytest.mark.parametrize(("name", "method", "scope", "body", "status"), CASES)
def test_a_token_that_only_reads_changes_nothing(client, name, method, scope, body, status):
    rows = world.filled()
    text = world.token(world.READING, connection=world.sender())
    before = rows_now()
    answer = ask(client, name, method, body, rows, **world.bearer(text))
    changed = {model for model, count in rows_now().items() if count != before[model]}
    assert changed <= {"AuditEntry"}
    assert answer.status_code == (status if scope is None or scope.endswith(":read") else 403)


@pytest.mark.parametrize("name", sorted({name for name, _method in ROUTES}))
def test_other_methods_are_refused_as_a_problem(api, name):
    rows = world.filled()
    for method in ("put", "patch", "delete", "options"):
        answer = ask(api.client, name, method, {}, rows, **world.bearer(api.text))
        assert (method, answer.status_code) == (method, 405)
        assert answer.json()["type"] == "urn:tierwise:problem:method_not_allowed"
        assert answer["Allow"]
