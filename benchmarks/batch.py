"""Classify a whole shop: read to last commit, by stage, beside the floor of the same work.

    python -m benchmarks.batch --customers 200000 [--sqlite] [--model network|blend|champions] [--workers 2] [--again]

The run is a real one: `scoring_runs.start`, then worker processes that claim and walk its shards as Celery workers
do, decisions staged for delivery. The floor (benchmarks/floor.py) follows on the same machine in the same minutes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Any

from benchmarks import data, report, setup
from benchmarks.processes import warm_workers

ALGORITHMS = {"network": ("mlp", "tabm", "conv", "recurrent", "transformer"), "blend": ("blend",)}
TARGETS = {  # customers: (seconds with the network alone, seconds with the blend), on PostgreSQL
    1_000_000: (45.0, 90.0)
}
SQLITE_SECONDS = 20.0
RATIO = 2.2
WORKER_MIB = 1024.0


@dataclass(frozen=True)
class Wanted:
    customers: int
    model: str
    workers: int = 2
    floor: bool = True
    again: bool = False


def main() -> None:
    options = _options()
    url = data.sqlite(options.customers) if options.sqlite else data.postgres(options.customers)
    setup.use(url)
    try:
        result = measure(
            Wanted(
                options.customers,
                options.model,
                workers=options.workers,
                floor=not options.no_floor,
                again=options.again,
            )
        )
        report.show(result, lines(result))
    finally:
        from django.db import connections

        connections.close_all()
        if not options.keep:
            data.drop(url)


def measure(wanted: Wanted) -> dict[str, Any]:
    """On the present database, which is classified after it."""
    from django.db import connection

    from segmentation.models import Event

    result: dict[str, Any] = {
        "benchmark": "batch",
        "database": connection.vendor,
        "customers": wanted.customers,
        "events": Event.objects.count(),
        "model": wanted.model,
        "workers": wanted.workers,
    }
    choose_champions(wanted.model)
    result["run"] = classify(wanted.workers)
    print(f"The run took {result['run']['seconds']:.1f} s.", flush=True)
    if wanted.floor:
        from benchmarks import floor

        result["floor"] = floor.measure(wanted.workers)
        result["ratio"] = result["run"]["seconds"] / result["floor"]["seconds"]
    if wanted.again:
        _next_day()
        result["again"] = classify(wanted.workers)
    return result


def lines(result: dict[str, Any]) -> list[str]:
    run, floor = result["run"], result.get("floor")
    out = [
        f"{result['customers']:,} customers, {result['events']:,} events, {result['database']}, "
        f"{result['model']}, {result['workers']} workers"
    ]
    if floor:
        out.append(
            f"ratio to the floor {result['ratio']:.2f} (target {RATIO}) · "
            f"of processor seconds {run['cpu'] / max(floor['cpu'], 1e-9):.2f}"
        )
        out.append(f"seconds {run['seconds']:.1f} · floor {floor['seconds']:.1f}{_target(result)}")
    else:
        out.append(f"seconds {run['seconds']:.1f}{_target(result)}")
    if "again" in result:
        out.append(f"the day after {result['again']['seconds']:.1f} s")
    out.append(
        f"largest worker {run['rss_mib']:.0f} MiB (target {WORKER_MIB:.0f}) · "
        f"processor seconds {run['cpu']:.1f} (database {run['server_cpu']:.1f})"
    )
    out += [
        f"  MiB by tenth of the time: {' '.join(f'{value:.0f}' for value in tenths)}"
        for tenths in run["rss_by_tenth_mib"]
    ]
    out += report.stages(
        run["stages"], floor["stages"] if floor else {}, result.get("again", {}).get("stages", {})
    )
    return out


def _target(result: dict[str, Any]) -> str:
    if result["database"] == "sqlite":
        return f" (target {SQLITE_SECONDS:.0f})" if result["customers"] == 50_000 else ""
    found = TARGETS.get(result["customers"])
    return "" if found is None else f" (target {found[0 if result['model'] == 'network' else 1]:.0f})"


def choose_champions(model: str) -> None:
    """Every target is answered by the version of this kind; "champions": by whatever training promoted."""
    from segmentation.models import ModelSlot, ModelVersion

    if model == "champions":
        return
    for slot in ModelSlot.objects.all():
        versions = ModelVersion.objects.filter(targets=slot.target_id, algorithm__in=ALGORITHMS[model])
        slot.champion = versions.order_by("-number")[0]
        slot.save()


def classify(workers: int) -> dict[str, Any]:
    """Start a run, let so many workers walk it, end it: seconds, memory, what was used and written."""
    from django.db import connection

    from segmentation import scoring_runs
    from segmentation.models import Decision, Membership, Score, ScoringRun

    with warm_workers("benchmarks.worker", workers) as warm:
        started = perf_counter()
        run = scoring_runs.start()
        planned = perf_counter()
        warm.go(str(run.pk))
        answers = warm.answers()
        walked = perf_counter()
        ended = warm.ask_first("finish")
        finished = perf_counter()
    run.refresh_from_db()
    if run.state != ScoringRun.State.DONE:
        raise SystemExit(f"The run ended as {run.state}: {run.error}")
    connection.close()
    stages: dict[str, float] = {"start": planned - started, "finish": finished - walked}
    for answer in answers:
        for name, seconds in answer["stages"].items():
            stages[name] = stages.get(name, 0.0) + seconds
    stages["other"] = sum(a["busy"] for a in answers) - sum(sum(a["stages"].values()) for a in answers)
    stages["waiting"] = workers * (walked - planned) - sum(a["busy"] for a in answers)
    return {
        "seconds": finished - started,
        "walk_seconds": walked - planned,
        "rss_mib": max(answer["rss_mib"] for answer in answers),
        "rss_by_tenth_mib": [answer["rss_by_tenth_mib"] for answer in answers],
        "cpu": sum(used["cpu"] + used["server_cpu"] for used in (*answers, ended)),
        "server_cpu": sum(used["server_cpu"] for used in (*answers, ended)),
        "stages": stages,
        "rows": {
            "scores": Score.objects.count(),
            "memberships": Membership.objects.count(),
            "decisions": Decision.objects.count(),
        },
    }


def _next_day() -> None:
    from segmentation.models import Shop

    shop = Shop.get()
    if shop.frozen_on is not None:
        shop.frozen_on += timedelta(days=1)
        shop.save()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--sqlite", action="store_true", help="default: PostgreSQL on BENCH_SERVER")
    parser.add_argument("--model", choices=["network", "blend", "champions"], default="network")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--again", action="store_true", help="also the run of the day after, where little changes"
    )
    parser.add_argument("--no-floor", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the database there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
