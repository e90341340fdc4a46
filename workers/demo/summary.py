"""What the demo prints at the end: what came in, what was learned, who is where, who gets what, how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Count, Sum
from rich.console import Console
from rich.table import Table

from segmentation.features import catalogue
from segmentation.models import Customer, ImportRun, ModelSlot, Segment, ServicePriority


def show(console: Console, seconds: Mapping[str, float]) -> None:
    console.print(_counts())
    for slot in ModelSlot.objects.filter(champion__isnull=False).select_related("champion", "target"):
        console.print(_metrics(slot))
    console.print(_pairs("Customers in each segment", "Segment", _segments()))
    console.print(_pairs("Current offers", "Offer", _offers()))
    console.print(_pairs("Service priority", "Priority", _priorities()))
    console.print(_pairs("Seconds", "Stage", ((name, f"{spent:.1f}") for name, spent in seconds.items())))


def _pairs(title: str, name: str, rows: Iterator[tuple[str, Any]]) -> Table:
    table = Table(name, "", title=title, title_justify="left")
    table.columns[1].justify = "right"
    for label, value in rows:
        table.add_row(str(label), f"{value:,}" if isinstance(value, int) else str(value))
    return table


def _counts() -> Table:
    totals = ImportRun.objects.filter(state="done").aggregate(
        read=Sum("rows_read"), kept=Sum("rows_imported"), known=Sum("rows_repeated"),
        skipped=Sum("rows_skipped"), rejected=Sum("rows_rejected"), events=Sum("events_created"),
    )  # fmt: skip
    words = {
        "read": "Lines read", "kept": "Lines kept", "known": "Already known", "skipped": "Left out (no customer, or free)",
        "rejected": "Rejected", "events": "Events",
    }  # fmt: skip
    rows = [(words[key], int(value or 0)) for key, value in totals.items()]
    rows += [("Customers", Customer.objects.count()), ("Features a customer", len(catalogue.CATALOGUE))]
    return _pairs("Data", "What", iter(rows))


def _metrics(slot: ModelSlot) -> Table:
    """The champion's metrics beside each baseline, with 95 % intervals, as stored with the version."""
    version = slot.champion
    assert version is not None
    found = version.evaluation.get(slot.target.slug, {})
    models = {version.algorithm: found.get("metrics", {}), **dict(sorted(found.get("baselines", {}).items()))}
    title = (
        f"{slot.target.name}: version {version.number} on {found.get('rows', 0):,} customers it had not seen"
    )
    table = Table("Metric", *models, title=title, title_justify="left")
    for metric in found.get("metrics", {}):
        table.add_row(metric, *(_figure(metrics.get(metric)) for metrics in models.values()))
    return table


def _figure(entry: Mapping[str, float] | None) -> str:
    return f"{entry['value']:.3f}\n[dim]{entry['low']:.3f} – {entry['high']:.3f}" if entry else ""


def _segments() -> Iterator[tuple[str, int]]:
    yield from (
        Segment.objects.filter(is_active=True).order_by("-member_count").values_list("name", "member_count")
    )


def _offers() -> Iterator[tuple[str, int]]:
    rows = (
        Customer.objects.filter(merged_into=None).values_list("current_offer__name").annotate(n=Count("id"))
    )
    for name, count in rows.order_by("-n"):
        yield name or "no offer", count


def _priorities() -> Iterator[tuple[str, int]]:
    for level, count in (
        ServicePriority.objects.values_list("level").annotate(n=Count("customer")).order_by("-level")
    ):
        yield str(ServicePriority(level=level).get_level_display()), count
