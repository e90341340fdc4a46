"""The admin's pages on a classified shop: milliseconds, processor time of page and database, queries, the slowest one."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from benchmarks.used import Used

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
            used, started = Used.now(), perf_counter()
            answer = client.get(address, follow=True)
            milliseconds.append(1000 * (perf_counter() - started))
            processor.append(used.since())
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
                "cpu_ms": 1000 * min(turn["cpu"] for turn in processor),
                "server_cpu_ms": 1000 * min(turn["server_cpu"] for turn in processor),
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
    return out + [_line(page) for page in pages]


def _line(page: dict[str, Any]) -> str:
    processor = f"processor {page['cpu_ms']:>4.0f}, of the database {page['server_cpu_ms']:>4.0f}"
    return (
        f"  {page['page']:<34} {page['ms']:>6.0f} ms (first {page['first_ms']:>5.0f}; {processor}) "
        f"{page['queries']:>3} queries, slowest {page['slowest_ms']:.0f} ms"
    )


def _addresses() -> list[tuple[str, str]]:
    from django.contrib import admin
    from django.urls import reverse

    customers = reverse("admin:segmentation_customer_changelist")
    found = [("home", reverse("admin:index"))]
    for model in admin.site._registry:
        name = model._meta.model_name
        found.append((f"list of {name}", reverse(f"admin:{model._meta.app_label}_{name}_changelist")))
    found += [(f"customers: {name}", f"{customers}?{query}") for name, query in _searches()]
    segments = reverse("admin:segmentation_segment_changelist")
    found.append(("segments: by name", f"{segments}?q=order"))
    return [*found, *_single_pages()]


def _searches() -> list[tuple[str, str]]:
    from urllib.parse import quote

    from segmentation.models import Customer, CustomerIdentity, Segment

    last = Customer.objects.order_by("-pk")[10]
    named = Customer.objects.filter(pk__gt=last.pk // 2).order_by("pk")[0]
    identity = CustomerIdentity.objects.filter(customer__gt=last.pk // 2).order_by("customer")[0]
    largest, smallest = (
        Segment.objects.order_by("-member_count")[0],
        Segment.objects.order_by("member_count")[0],
    )
    return [
        ("number", f"q={quote(named.reference)}"),
        ("beginning of many numbers", f"q={quote(named.reference[:2])}"),
        ("identity", f"q={quote(identity.value)}"),
        ("nobody", "q=nobody-at-all"),
        ("e-mail", f"q={quote(_known_email())}"),
        ("e-mail of nobody", "q=nobody@example.com"),
        ("page 50", "p=50"),
        ("page 200", "p=200"),
        ("largest segment", f"segment={largest.pk}"),
        ("smallest segment", f"segment={smallest.pk}"),
        *((f"sorted by {column}", f"o={column}") for column in _sortable()),
        *_filters(),
    ]


def _known_email() -> str:
    """Of a customer of our own: who grew the shop may have sealed contact data under other keys."""
    from segmentation import contacts
    from segmentation.models import Customer

    email = "somebody@benchmark.example"
    somebody = Customer.objects.get_or_create(reference="benchmark-somebody")[0]
    if contacts.find_by_email(email) is None:
        contacts.write(somebody, contacts.Contact(email=email))
    return email


def _sortable() -> list[str]:
    """Every column of the customers' list that sorts, both ways."""
    from django.contrib import admin

    from segmentation.models import Customer

    model_admin: Any = admin.site._registry[Customer]
    columns = [
        str(number)
        for number, name in enumerate(model_admin.list_display)
        if name == "reference" or getattr(getattr(model_admin, name), "admin_order_field", None)
    ]
    return [*columns, *(f"-{column}" for column in columns)]


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
