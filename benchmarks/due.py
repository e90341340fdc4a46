"""Due customers on a classified shop: new events come in, then one customer, or a hundred, are rescored and decided."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from time import perf_counter
from typing import Any
from uuid import uuid4

from benchmarks import report
from benchmarks.used import Used

ONE_MS, HUNDRED_MS = 30.0, 60.0
WARM_UP = 5
IDENTITY = ("customer_id", "namespace", "value")


def measure(*, rounds: int = 100, batches: int = 20) -> dict[str, Any]:
    """Milliseconds of `scoring.rescore_due` by number of customers, with and without reading their events."""
    from segmentation.models import Customer, DueCustomer

    DueCustomer.objects.all().delete()
    keys = list(Customer.objects.filter(merged_into=None).order_by("-pk").values_list("pk", flat=True))
    step = max(len(keys) // (rounds + WARM_UP), 1)
    return {
        "benchmark": "due",
        "customers": len(keys),
        "one": _measured([[key] for key in keys[::step][: rounds + WARM_UP]]),
        "hundred": _measured([keys[i * 100 : i * 100 + 100] for i in range(batches + WARM_UP)]),
    }


def lines(result: dict[str, Any]) -> list[str]:
    out = []
    for name, target in (("one", ONE_MS), ("hundred", HUNDRED_MS)):
        found = result[name]
        after, whole = found["after_read_ms"], found["whole_ms"]
        out.append(
            f"{name} due: {after['p50'] / target:.2f} of the target · after reading p50 {after['p50']:.1f} ms, "
            f"p99 {after['p99']:.1f} ms (target {target:.0f}) · whole p50 {whole['p50']:.1f}, p99 {whole['p99']:.1f}"
        )
        stages = sorted(found["stages_ms"].items(), key=lambda item: -item[1])
        out.append(
            f"    processor {found['cpu_ms']:.1f} ms · "
            + " · ".join(f"{stage} {ms:.1f}" for stage, ms in stages if ms >= 0.05)
        )
    return out


def _measured(groups: list[list[int]]) -> dict[str, Any]:
    from crm_integration import outbox
    from segmentation import scoring
    from segmentation.stages import recording

    whole: list[float] = []
    after: list[float] = []
    stages: dict[str, float] = {}
    cpu = 0.0
    for number, keys in enumerate(groups):
        _something_happens(keys)
        used, started = Used.now(), perf_counter()
        with recording() as seconds:
            scoring.rescore_due(on_decided=outbox.stage)
        elapsed = perf_counter() - started
        if number < WARM_UP:
            continue
        cpu += sum(used.since().values())
        whole.append(elapsed)
        after.append(elapsed - seconds.get("read", 0.0))
        for name, value in seconds.items():
            stages[name] = stages.get(name, 0.0) + value
    return {
        "rounds": len(whole),
        "whole_ms": report.quantiles(whole),
        "after_read_ms": report.quantiles(after),
        "cpu_ms": 1000 * cpu / len(whole),
        "stages_ms": {name: 1000 * value / len(whole) for name, value in stages.items()},
    }


def _something_happens(keys: list[int]) -> None:
    """Each of them places an order, through the door that imports and connections use."""
    from segmentation import ingest
    from segmentation.features.days import midnight
    from segmentation.kinds import EventKind
    from segmentation.models import CustomerIdentity, EventSource, Shop
    from segmentation.normal import NormalEvent, NormalItem

    shop = Shop.get()
    source, _ = EventSource.objects.get_or_create(slug="benchmark")
    now = midnight(shop.scoring_as_of(), shop.zone) - timedelta(minutes=1)
    identities = CustomerIdentity.objects.filter(customer__in=keys).order_by("namespace")
    known = {customer: (namespace, value) for customer, namespace, value in identities.values_list(*IDENTITY)}
    namespace = known[keys[0]][0]
    events = [
        NormalEvent(
            source_key=uuid4().hex,
            kind=EventKind.ORDER_PLACED,
            occurred_at=now,
            customer=reference,
            amount=Decimal(40),
            items=(NormalItem("benchmark", quantity=1, amount=Decimal(40)),),
        )
        for _namespace, reference in known.values()
    ]
    stored = ingest.record_events(
        events, source=source, namespace=namespace, received_at=now, cause="benchmark"
    )
    if stored.created != len(keys):
        raise SystemExit(f"{stored.created} of {len(keys)} orders came in: {stored}")
