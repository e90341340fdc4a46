"""The admin's pages on a classified shop: milliseconds, queries, and the slowest query of each."""

from __future__ import annotations

from time import perf_counter, process_time
from typing import Any

TARGET_MS = 300.0
REPEATS = 3


def measure() -> dict[str, Any]:
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(HTTP_HOST="localhost")
    client.force_login(_somebody())
    pages = []
    for name, address in _addresses():
        milliseconds, processor = [], []
        for _turn in range(REPEATS):
            cache.clear()
            used, started = process_time(), perf_counter()
            answer = client.get(address, follow=True)
            milliseconds.append(1000 * (perf_counter() - started))
            processor.append(1000 * (process_time() - used))
            if answer.status_code != 200:
                raise SystemExit(f"{name} ({address}) answered {answer.status_code}.")
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            client.get(address, follow=True)
        slowest = max(queries.captured_queries, key=lambda query: float(query["time"]))
        pages.append(
            {
                "page": name,
                "address": address,
                "ms": sorted(milliseconds)[len(milliseconds) // 2],
                "cpu_ms": min(processor),
                "first_ms": milliseconds[0],
                "queries": len(queries),
                "slowest_ms": 1000 * float(slowest["time"]),
                "slowest": slowest["sql"][:400],
            }
        )
    return {"benchmark": "pages", "pages": pages}


def lines(result: dict[str, Any]) -> list[str]:
    pages = sorted(result["pages"], key=lambda page: -page["ms"])
    over = sum(page["ms"] > TARGET_MS for page in pages)
    out = [
        f"{len(pages)} admin pages: the slowest {pages[0]['ms'] / TARGET_MS:.2f} of the target "
        f"({TARGET_MS:.0f} ms), {over} over it"
    ]
    return out + [
        f"  {page['page']:<34} {page['ms']:>6.0f} ms (first {page['first_ms']:>5.0f}, "
        f"processor {page['cpu_ms']:>4.0f}) {page['queries']:>3} queries, slowest {page['slowest_ms']:.0f} ms"
        for page in pages
    ]


def _addresses() -> list[tuple[str, str]]:
    from django.contrib import admin
    from django.urls import reverse

    customers = reverse("admin:segmentation_customer_changelist")
    found = [("home", reverse("admin:index"))]
    for model in admin.site._registry:
        name = model._meta.model_name
        found.append((f"list of {name}", reverse(f"admin:{model._meta.app_label}_{name}_changelist")))
    searched = [(f"customers: {name}", f"{customers}?{query}") for name, query in _searches()]
    return [*found, *searched, *_single_pages()]


def _searches() -> list[tuple[str, str]]:
    from urllib.parse import quote

    from segmentation import contacts
    from segmentation.models import ContactData, Customer, CustomerIdentity

    person = Customer.objects.order_by("pk")[10]
    sealed = ContactData.objects.order_by("pk").values_list("pk", flat=True)[10]
    contact = contacts.read(sealed)
    identity = CustomerIdentity.objects.order_by("pk").values_list("value", flat=True)[20]
    out = [
        ("number", f"q={quote(person.reference)}"),
        ("identity", f"q={quote(identity)}"),
        ("nobody", "q=nobody-at-all"),
        ("page 50", "p=50"),
        *((f"sorted by column {column}", f"o={column}") for column in (1, 2, 3, 6, 7, 8, 9, 10)),
        *((f"sorted by column -{column}", f"o=-{column}") for column in (2, 3, 7, 10)),
        *(_filters()),
    ]
    if contact is not None and contact.email:
        out.append(("e-mail", f"q={quote(contact.email)}"))
    return out


def _filters() -> list[tuple[str, str]]:
    """Every choice of every filter of the customers' list, each alone."""
    from django.contrib import admin
    from django.test import RequestFactory

    from segmentation.models import Customer

    model_admin: Any = admin.site._registry[Customer]
    request = RequestFactory().get("/")
    request.user = _somebody()
    out = []
    for kind in model_admin.list_filter:
        if not hasattr(kind, "parameter_name"):
            continue
        choices = kind(request, {}, Customer, model_admin).lookup_choices
        out += [
            (f"{kind.parameter_name} {value}", f"{kind.parameter_name}={value}")
            for value, _title in choices[:4]
        ]
    return out


def _single_pages() -> list[tuple[str, str]]:
    """The page of one row of what there is; the customer is the one with the most events of a few."""
    from django.urls import reverse

    from segmentation.models import Customer, ModelVersion, ScoringRun, Segment

    pages = []
    for model, row in (
        (Customer, Customer.objects.order_by("-orders", "-pk").first()),
        (Segment, Segment.objects.order_by("-member_count").first()),
        (ModelVersion, ModelVersion.objects.order_by("-number").first()),
        (ScoringRun, ScoringRun.objects.order_by("-pk").first()),
    ):
        if row is not None:
            name = model._meta.model_name
            pages.append((f"one {name}", reverse(f"admin:segmentation_{name}_change", args=[row.pk])))
    return pages


def _somebody() -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.get_or_create(
        username="benchmark", defaults={"is_staff": True, "is_superuser": True}
    )[0]
