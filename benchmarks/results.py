"""How long measuring a campaign takes that everybody came into: decisions, orders and segments in, effects out.

    BENCH_SERVER=postgres://… python -m benchmarks.results --customers 1000000

A tenth is held out; each customer has one decision of thirty candidates, four orders and two segments. The offer makes
six in a hundred more order, which the result must find.
"""

from __future__ import annotations

import argparse
import resource
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks import data, setup

if TYPE_CHECKING:
    import polars as pl

SINCE: Final = datetime(2026, 4, 1, 9, tzinfo=UTC)
AS_OF: Final = date(2026, 7, 1)
CANDIDATES: Final = 30
CHUNK: Final = 100_000
EFFECT: Final = 0.06


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--customers", type=int, default=100_000)
    options = given.parse_args()
    url = data.empty()
    setup.use(url)
    try:
        _measure(options.customers)
    finally:
        from django.db import connections

        connections.close_all()
        data.drop(url)


def _measure(count: int) -> None:
    from django.core.management import call_command
    from django.db import connection

    from benchmarks import report
    from segmentation.results import measuring

    call_command("migrate", verbosity=0)
    made = _campaign()
    for first in range(1, count + 1, CHUNK):
        _people(made, first, min(first + CHUNK, count + 1))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    _as_of, result = measuring.measure(made, window_days=30, as_of=AS_OF)
    seconds, busy = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = result["outcomes"]["conversion"]["plain"]
    shown: dict[str, Any] = {
        "benchmark": "results", "customers": count, "seconds": seconds, "cpu_seconds": busy,
        "peak_mib": peak / 1024, "before_mib": before / 1024, "effect": found, "segments": len(result["segments"]),
    }  # fmt: skip
    report.show(
        shown,
        [
            f"{count} customers, {result['arms']['control']['customers']} held out",
            f"  {seconds:.1f} s, {busy:.1f} s of them in this process; {1e6 * seconds / count:.1f} µs a customer",
            f"  at most {peak / 1024:.0f} MiB ({before / 1024:.0f} MiB before)",
            f"  effect {found['value']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f}), made {EFFECT:+.4f}",
        ],
    )


def _campaign() -> Any:
    from segmentation.models import Campaign, CampaignRule, EventSource, Offer, PolicyVersion, Segment, Shop

    shop = Shop.get()
    shop.base_currency, shop.time_zone = "GBP", "UTC"
    shop.save()
    EventSource.objects.create(slug="bench")
    gives = Offer.objects.create(slug="o", name="Gift", kind="gift", text="x", cost_minor=100)
    made = Campaign.objects.create(slug="bench", name="Bench", status="running")
    for slug in ("one", "two"):
        Segment.objects.create(slug=slug, name=slug.capitalize())
    CampaignRule.objects.create(
        campaign=made, position=1, segment=Segment.objects.earliest("pk"), offer=gives, margin_minor=900
    )
    others = [{"id": -n, "offer": {"id": 0}} for n in range(CANDIDATES - 1)]
    told = [
        {"id": 0, "holdout": None, "rules": others},
        {
            "id": made.pk,
            "holdout": {"percent": 10},
            "rules": [{"id": 1, "offer": {"id": gives.pk, "cost_minor": 100}}],
        },
    ]
    PolicyVersion.objects.create(sha256="0" * 64, content={"campaigns": told, "priority_rules": []})
    return made


def _people(made: Any, first: int, end: int) -> None:
    import polars as pl
    from django.db import transaction

    from segmentation import bulk
    from segmentation.models import Customer, Decision, Event, Membership

    random = np.random.default_rng(first)
    n = end - first
    ids = np.arange(first, end)
    held = random.random(n) < 0.1
    since = pl.Series([SINCE]).dt.cast_time_unit("us")
    base = pl.DataFrame({"id": ids}).with_columns(since=since.first())
    with transaction.atomic():
        Customer.objects.bulk_create(
            [Customer(pk=int(key), reference=f"c{key}") for key in ids], batch_size=5000
        )
        bulk.insert(Decision, *_decisions(base, held))
        bulk.insert(Event, *_orders(base, held, random))
        for segment in (1, 2):
            rows = base.filter(pl.Series(random.random(n) < 0.5)).select(
                pl.lit(segment, pl.Int64).alias("segment_id"),
                pl.col("id").alias("customer_id"),
                (pl.col("since") - pl.duration(days=40)).alias("entered_at"),
                pl.lit(1, pl.Int64).alias("entered_by"),
            )
            bulk.insert(Membership, rows.columns, rows)


def _decisions(base: pl.DataFrame, held: np.ndarray) -> tuple[list[str], pl.DataFrame]:
    import polars as pl

    from segmentation import packed
    from segmentation.decisions.codes import Verdict

    codes = np.zeros((base.height, CANDIDATES), dtype=np.uint8)
    codes[:, -1] = np.where(held, Verdict.HELD_OUT_CAMPAIGN, Verdict.WON)
    one = pl.lit(1, pl.Int64)
    rows = base.select(
        pl.col("id").alias("customer_id"),
        pl.col("id").alias("input_version"),
        one.alias("policy_id"),
        one.alias("snapshot_id"),
        pl.lit(SINCE.date()).alias("as_of"),
        one.alias("cause"),
        pl.lit(2, pl.Int64).alias("priority"),
        packed.pack(codes).alias("verdicts"),
        pl.col("since").alias("decided_at"),
    )
    return rows.columns, rows


def _orders(
    base: pl.DataFrame, held: np.ndarray, random: np.random.Generator
) -> tuple[list[str], pl.DataFrame]:
    """Three orders before, and perhaps one after."""
    import polars as pl

    parts = []
    for number in range(4):
        chance = 0.2 + EFFECT * ~held if number == 3 else np.ones(base.height)
        days = random.integers(1, 29, base.height) if number == 3 else -random.integers(1, 300, base.height)
        rows = base.with_columns(pl.Series("days", days)).filter(
            pl.Series(random.random(base.height) < chance)
        )
        parts.append(
            rows.select(
                pl.col("id").alias("customer_id"),
                pl.lit(1, pl.Int64).alias("kind"),
                (pl.col("since") + pl.duration(days="days")).alias("occurred_at"),
                pl.col("since").alias("received_at"),
                pl.lit(1, pl.Int64).alias("source_id"),
                pl.format("{}-{}", "id", pl.lit(number)).alias("source_key"),
                pl.lit(0, pl.Int64).alias("source_version"),
                pl.Series("amount_minor", random.integers(500, 9000, rows.height)),
                *(pl.lit(value, pl.Int64).alias(name) for name, value in _PLAIN.items()),
                pl.lit("").alias("currency"),
                pl.lit("").alias("order_key"),
            )
        )
    rows = pl.concat(parts)
    return rows.columns, rows


_PLAIN: Final = {"discount_minor": 0, "quantity": 1, "line_count": 1, "category_mask": 0}

if __name__ == "__main__":
    main()
