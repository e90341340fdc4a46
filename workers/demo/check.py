"""What `make demo CHECK=1` proves: the admin's pages answer, and a signed webhook becomes a delivered decision."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from typing import Any

import requests
from django.contrib import admin
from django.urls import reverse

from crm_integration import signatures
from crm_integration.models import Connection
from segmentation.models import Customer, ModelVersion, Shop
from workers.demo.processes import DemoError

PAGE_SECONDS = 30
DECISION_SECONDS = 60.0


@dataclass(frozen=True)
class Visit:
    path: str
    status: int
    seconds: float


def sign_in(site: str, username: str, password: str) -> requests.Session:
    """A session that is logged in to the admin. Raises DemoError when the login is refused."""
    session = requests.Session()
    session.trust_env = False
    url = site + reverse("admin:login")
    session.get(url, timeout=PAGE_SECONDS)
    form = {
        "username": username,
        "password": password,
        "csrfmiddlewaretoken": session.cookies.get("csrftoken"),
    }
    answer = session.post(
        url, data=form, headers={"Referer": url}, allow_redirects=False, timeout=PAGE_SECONDS
    )
    if answer.status_code != requests.codes.found:
        raise DemoError(f"the admin refused the demo login (status {answer.status_code}).")
    return session


def visit_pages(session: requests.Session, site: str) -> list[Visit]:
    """Ask for every list page, the home page, a customer and a model version; raises DemoError on any but 200."""
    visits = [_visit(session, site, path) for path in _paths()]
    bad = [f"{visit.path} answered {visit.status}" for visit in visits if visit.status != requests.codes.ok]
    if bad:
        raise DemoError("these admin pages failed: " + "; ".join(bad))
    return visits


def _paths() -> list[str]:
    names = [f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry]
    paths = [reverse("admin:index"), *(reverse(f"admin:{name}_changelist") for name in names)]
    for model in (Customer, ModelVersion):
        key = model._default_manager.order_by("-pk").values_list("pk", flat=True).first()
        if key is not None:
            paths.append(reverse(f"admin:segmentation_{model._meta.model_name}_change", args=[key]))
    return paths


def _visit(session: requests.Session, site: str, path: str) -> Visit:
    started = time.monotonic()
    answer = session.get(site + path, timeout=PAGE_SECONDS)
    return Visit(path, answer.status_code, time.monotonic() - started)


def send_order(site: str, connection: Connection) -> str:
    """Post a signed first order of a new customer; returns the customer's reference."""
    reference = f"DEMO-{secrets.token_hex(4)}"
    body = json.dumps(_order(reference)).encode()
    headers = signatures.headers(
        [connection.inbound_secret],
        message_id=f"msg_{secrets.token_hex(8)}",
        timestamp=int(time.time()),
        body=body,
    )
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{site}/hooks/{connection.slug}/",
            data=body,
            headers={**headers, "Content-Type": "application/json"},
            timeout=PAGE_SECONDS,
        )
    if answer.status_code != requests.codes.accepted:
        raise DemoError(f"the webhook answered {answer.status_code}: {answer.text[:200]}")
    return reference


def _order(reference: str) -> dict[str, Any]:
    shop = Shop.get()
    moment = datetime.now(UTC)
    if shop.frozen_on:
        moment = datetime.combine(shop.frozen_on, clock(12), tzinfo=shop.zone).astimezone(UTC)
    item = {
        "product_id": "DEMO-1",
        "name": "Demo product",
        "category": "Demo",
        "quantity": 2,
        "amount": "39.80",
    }
    return {
        "type": "order.placed",
        "timestamp": moment.isoformat(),
        "data": {
            "order_id": f"order-{reference}",
            "customer": reference,
            "occurred_at": (moment - timedelta(seconds=1)).isoformat(),
            "currency": shop.base_currency,
            "amount": "39.80",
            "items": [item],
        },
    }


def wait_for_decision(
    received: Callable[[], list[dict[str, Any]]], reference: str, *, alive: Callable[[], None]
) -> tuple[dict[str, Any], float]:
    """The delivered decision about `reference` and the seconds it took. Raises DemoError when none comes."""
    started = time.monotonic()
    while time.monotonic() - started < DECISION_SECONDS:
        for delivery in received():
            if delivery["message"]["data"].get("customer", {}).get("reference") == reference:
                return delivery["message"], time.monotonic() - started
        alive()
        time.sleep(0.02)
    raise DemoError(f"no decision about {reference} was delivered within {DECISION_SECONDS:.0f} s.")
