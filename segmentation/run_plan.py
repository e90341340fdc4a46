"""What a classification will take here: a sample of customers goes through the real line, and the write is undone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from django.db import connection
from django.db.models import F

from segmentation import scoring_runs
from segmentation.models import Customer, Decision, Event, ScoringRun
from segmentation.stages import recording, stage

if TYPE_CHECKING:
    from segmentation.scoring import OnDecided, Pinned, ScoredReport

PARTS = 3
# How far a run may lie from its sample: nothing is committed here, and tables and their indexes grow.
MARGIN = 0.25
# The shop's own numbers are fitted once, before the first part; workers do not share that.
ONCE = "context"
REST = "rest"


class NothingToMeasure(Exception):
    """The shop has no customers to take a sample of."""


@dataclass(frozen=True)
class Sample:
    """seconds: of one worker for one customer, by stage, in each part of the sample."""

    customers: int
    events: int
    seconds: tuple[Mapping[str, float], ...]

    def mean(self) -> dict[str, float]:
        names = {name for part in self.seconds for name in part}
        return {name: sum(part.get(name, 0.0) for part in self.seconds) / len(self.seconds) for name in names}


@dataclass(frozen=True)
class Estimate:
    """stages: seconds of all workers together. low, high: seconds from start to end."""

    stages: Mapping[str, float]
    low: float
    high: float


class _Undo(Exception):
    """Rolls the write of a sample back."""


def measure(*, on_decided: OnDecided | None = None) -> Sample:
    """Read, compute and write a few parts of the shop as a run would, each rolled back at its end.

    Their customers stay locked while theirs is written, as in a run. Raises NothingToMeasure.
    """
    from segmentation import scoring

    parts = _parts(scoring_runs.CHUNK[connection.vendor])
    if not parts:
        raise NothingToMeasure
    pinned = scoring.pin()
    _seconds(parts[0][:1], pinned, on_decided)  # loads the models
    return Sample(
        customers=sum(len(ids) for ids in parts),
        events=Event.objects.filter(customer__in=[key for ids in parts for key in ids]).count(),
        seconds=tuple(_seconds(ids, pinned, on_decided) for ids in parts),
    )


def estimate(sample: Sample, *, customers: int, workers: int) -> Estimate:
    """Scale the sample. Workers beyond this machine's processors are not counted as help."""
    at_once = max(min(workers, os.cpu_count() or 1), 1)
    wholes = [customers * (_shared(part) / at_once + part.get(ONCE, 0.0)) for part in sample.seconds]
    return Estimate(
        stages={name: seconds * customers for name, seconds in sample.mean().items()},
        low=min(wholes) * (1 - MARGIN),
        high=max(wholes) * (1 + MARGIN),
    )


def last_run() -> tuple[int, float] | None:
    """Customers and seconds of the newest finished run, or None."""
    done = ScoringRun.objects.filter(state=ScoringRun.State.DONE, finished_at__isnull=False)
    newest = done.annotate(took=F("finished_at") - F("created_at")).order_by("-pk").first()
    return (newest.customers, newest.took.total_seconds()) if newest is not None else None


def _shared(part: Mapping[str, float]) -> float:
    return sum(seconds for name, seconds in part.items() if name != ONCE)


def _parts(size: int) -> list[list[int]]:
    """Ids of neighbours, as a shard has them, from the start, the middle and the end of the shop."""
    survivors = Customer.objects.filter(merged_into__isnull=True).order_by("pk").values_list("pk", flat=True)
    count = survivors.count()
    size = max(min(size, count // PARTS), 1)
    starts = sorted({(count - size) * part // max(PARTS - 1, 1) for part in range(PARTS)}) if count else []
    return [list(survivors[start : start + size]) for start in starts]


def _seconds(ids: Sequence[int], pinned: Pinned, on_decided: OnDecided | None) -> dict[str, float]:
    """Seconds for one customer, by stage."""
    from segmentation import scoring

    def undo(report: ScoredReport) -> None:
        raise _Undo

    started = perf_counter()
    staged = on_decided and stage("outbox")(on_decided)
    with recording() as stages, suppress(_Undo):
        scoring.score_customers(ids, pinned, cause=Decision.Cause.BATCH, on_decided=staged, inside=undo)
    named = {name: seconds for name, seconds in stages.items() if name != ONCE}
    rest = perf_counter() - started - sum(named.values())
    spent = {**named, REST: rest, ONCE: _fitting(ids, pinned)}
    return {name: seconds / len(ids) for name, seconds in spent.items()}


def _fitting(ids: Sequence[int], pinned: Pinned) -> float:
    """What these customers add to the fit of the shop's numbers, which reads every order once more."""
    from segmentation.features import fitting, store
    from segmentation.features.orders import ORDER_KINDS

    started = perf_counter()
    orders = store.read_events(ids, as_of=pinned.as_of, shop=pinned.shop, known_only=False, kinds=ORDER_KINDS)
    fitting.summarise(orders, as_of=pinned.as_of, zone=pinned.shop.zone)
    return perf_counter() - started
