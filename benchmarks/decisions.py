"""Decide for a whole shop under thirty campaigns, from stored features, scores and segments to the last commit.

    BENCH_SERVER=postgres://… python -m benchmarks.decisions --customers 20000 [--campaigns 30] [--workers 2]

The shop is classified first (not counted), with nothing decided. Then two worker processes read what is stored, ask
every segment and campaign, and write decisions, what they saw, and what was given, in transactions as large as a
run's. "Again": everybody's inputs are new, and nothing else is. Last, single customers after their features.
"""

from __future__ import annotations

import argparse
from time import perf_counter
from typing import Any, Final

from benchmarks import batch, campaigns, data, report, setup
from benchmarks.processes import Workers

SECONDS: Final = {1_000_000: 60.0}
WORKER_MIB: Final = 1536.0
BYTES: Final = 300
SINGLE_MS: Final = 20.0
SINGLE: Final = 100
WARM_UP: Final = 5
SIZED: Final = ("Decision", "InputSnapshot", "Grant")


def main() -> None:
    options = _options()
    url = data.postgres(options.customers)
    setup.use(url)
    try:
        result = measure(options)
        report.show(result, lines(result))
    finally:
        from django.db import connections

        connections.close_all()
        data.drop(url)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """On the present database, which nobody has classified yet."""
    batch.choose_champions("network")
    batch.classify(options.workers)
    campaigns.install(options.campaigns)
    _nothing_is_decided()
    result: dict[str, Any] = {
        "benchmark": "decisions",
        "customers": options.customers,
        "campaigns": options.campaigns,
        "workers": options.workers,
        "first": _decided(options.workers),
        "bytes": _bytes(),
    }
    _everybodys_inputs_are_new()
    result["again"] = _decided(options.workers)
    result["single"] = _single()
    return result


def lines(result: dict[str, Any]) -> list[str]:
    first, again, single = result["first"], result["again"], result["single"]
    out = [
        f"{result['customers']:,} customers × {result['campaigns']} campaigns, {result['workers']} workers: "
        f"{first['decisions']:,} decisions",
        f"seconds {first['seconds']:.1f}{_target(result)} · "
        f"{1e6 * first['seconds'] / result['customers']:.0f} µs a customer",
        f"again, with new inputs {again['seconds']:.1f} s, {again['decisions']:,} decisions",
        f"largest worker {first['rss_mib']:.0f} MiB (target {WORKER_MIB:.0f}) · processor seconds "
        f"{first['cpu']:.1f} (database {first['server_cpu']:.1f})",
        *(
            f"  MiB by tenth: {' '.join(f'{value:.0f}' for value in tenths)}"
            for tenths in first["rss_by_tenth_mib"]
        ),
        *(_size(name, found) for name, found in result["bytes"].items()),
        f"single after features p50 {single['decide']['p50']:.1f} ms, p99 {single['decide']['p99']:.1f} "
        f"(target {SINGLE_MS:.0f}) · with reading what is stored p50 {single['whole']['p50']:.1f}",
        *report.stages(first["stages"], {}, again["stages"]),
    ]
    return out


def _size(name: str, found: dict[str, float]) -> str:
    goal = f" (target {BYTES})" if name == "Decision" else ""
    each = found["table"] + found["indexes"]
    return (
        f"  {name:<14} {found['rows']:>9,} rows, {each:4.0f} bytes each{goal}: "
        f"{found['table']:.0f} in the table, {found['indexes']:.0f} in its indexes"
    )


def _target(result: dict[str, Any]) -> str:
    found = SECONDS.get(result["customers"])
    return "" if found is None else f" (target {found:.0f})"


def _nothing_is_decided() -> None:
    from django.db import connection

    from segmentation.models import Customer, Decision, Grant, InputSnapshot, ServicePriority

    gone = (Decision, InputSnapshot, Grant, ServicePriority)
    tables = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in gone)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {tables} CASCADE")
    Customer.objects.exclude(
        current_offer=None, priority=Customer._meta.get_field("priority").default
    ).update(current_offer=None, priority=Customer._meta.get_field("priority").default)
    _settle()


def _everybodys_inputs_are_new() -> None:
    from django.db.models import F

    from segmentation.models import Customer

    Customer.objects.update(input_version=F("input_version") + 1)
    _settle()


def _settle() -> None:
    """What the benchmark changed is not the measured work's to tidy up."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def _decided(count: int) -> dict[str, Any]:
    from segmentation.scoring_runs import CHUNK

    workers = [Workers("benchmarks.decision_worker", 1, (str(number), str(count))) for number in range(count)]
    try:
        started = perf_counter()
        for worker in workers:
            worker.go(str(CHUNK["postgresql"]))
        answers = [answer for worker in workers for answer in worker.answers()]
        seconds = perf_counter() - started
    finally:
        for worker in workers:
            worker.stop()
    stages: dict[str, float] = {}
    for answer in answers:
        for name, value in answer["stages"].items():
            stages[name] = stages.get(name, 0.0) + value
    stages["other"] = sum(answer["busy"] for answer in answers) - sum(stages.values())
    stages["waiting"] = count * seconds - sum(answer["busy"] for answer in answers)
    return {
        "seconds": seconds,
        "decisions": sum(answer["decisions"] for answer in answers),
        "rss_mib": max(answer["rss_mib"] for answer in answers),
        "rss_by_tenth_mib": [answer["rss_by_tenth_mib"] for answer in answers],
        "cpu": sum(answer["cpu"] + answer["server_cpu"] for answer in answers),
        "server_cpu": sum(answer["server_cpu"] for answer in answers),
        "stages": stages,
    }


def _bytes() -> dict[str, dict[str, float]]:
    """Rows, and bytes a row in the table and in its indexes."""
    from django.apps import apps
    from django.db import connection

    found = {}
    for name in SIZED:
        model = apps.get_model("segmentation", name)
        rows = model._base_manager.count()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_table_size(%(name)s), pg_indexes_size(%(name)s)", {"name": model._meta.db_table}
            )
            table, indexes = cursor.fetchone()
        found[name] = {"rows": rows, "table": table / max(rows, 1), "indexes": indexes / max(rows, 1)}
    return found


def _single() -> dict[str, dict[str, float]]:
    """Milliseconds of one customer at a time, whose inputs are new: with reading what is stored, and after it."""
    from django.db.models import F

    from benchmarks import decision_worker
    from segmentation import stored_frames
    from segmentation.models import Customer, Decision
    from segmentation.stages import recording

    ids = list(stored_frames.classified().order_by("pk").values_list("customer_id", flat=True))
    decide: list[float] = []
    whole: list[float] = []
    for key in ids[:: max(len(ids) // (SINGLE + WARM_UP), 1)][: SINGLE + WARM_UP]:
        Customer.objects.filter(pk=key).update(input_version=F("input_version") + 1)
        started = perf_counter()
        with recording() as seconds:
            decision_worker.decide([key], cause=Decision.Cause.EVENT)
        whole.append(perf_counter() - started)
        decide.append(whole[-1] - seconds.get("read", 0.0))
    return {"whole": report.quantiles(whole[WARM_UP:]), "decide": report.quantiles(decide[WARM_UP:])}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--campaigns", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
