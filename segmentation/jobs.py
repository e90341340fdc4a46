"""Background work by name. Rows are written first; a job is only a nudge to look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import structlog
from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from segmentation.gathering import Gatherer

log = structlog.get_logger(__name__)


class Job(StrEnum):
    """Each value is the name of a task that the workers register."""

    PROCESS_INBOUND = "inbound.process"
    RESCORE_DUE = "score.rescore_due"
    RUN_SHARD = "score.run_shard"
    FINISH_SCORING_RUN = "score.finish_run"
    REFRESH_SEGMENT = "score.refresh_segment"
    EXPLAIN = "score.explain"
    BACKTEST = "score.backtest"
    ESTIMATE = "score.estimate"
    ANSWER = "score.answer"
    PROMOTION_DIFF = "score.promotion_diff"
    DRAW_MAP = "score.draw_map"
    MEASURE = "score.measure"
    COUNT_RULE = "score.count_rule"
    DEMAND_OUTLOOK = "score.demand_outlook"
    READ_TEXTS = "insight.read_texts"
    RUN_TRAINING = "train.run"
    RUN_EVALUATION = "train.evaluate"
    DELIVER = "outbound.deliver"
    RECONCILE = "default.reconcile"
    READ_BACK = "default.read_back"
    IMPORT_FILE = "default.import_file"
    PRIVACY = "default.privacy"
    SWEEP = "default.sweep"
    PRUNE = "default.prune"
    NIGHTLY = "default.nightly"
    RETRAIN = "default.retrain"


Sender = Callable[[Job, dict[str, int]], None]


@lru_cache(maxsize=8)
def _sender(path: str) -> Sender:
    return import_string(path)


def enqueue(job: Job, **ids: int) -> None:
    """Nudge after the surrounding transaction commits. A dead broker is logged; the sweeps catch up."""

    def nudge() -> None:
        if not _is_taken(job, ids):
            send(job, ids)

    transaction.on_commit(nudge)


def enqueue_due(job: Job) -> None:
    """Nudge a job to look at whatever is due, after the commit: one message for all who ask within a moment.

    The first who asks is not kept waiting, and neither is who asks by what the broker does.
    """

    def nudge() -> None:
        if _is_taken(job, {}):
            return
        if settings.JOB_GATHER_SECONDS:
            _gathered.ask(job)
        else:
            send(job, {})

    transaction.on_commit(nudge)


@dataclass
class Taken:
    """The nudge that somebody takes instead of letting it be sent: None as long as nobody asked for the job."""

    job: Job
    ids: dict[str, int] | None = None

    def takes(self, job: Job, ids: dict[str, int]) -> bool:
        if job is not self.job:
            return False
        if self.ids is None:
            self.ids = ids
        return self.ids == ids


_taken: ContextVar[Taken | None] = ContextVar("taken", default=None)


@contextmanager
def taking(job: Job) -> Iterator[Taken]:
    """The first nudge for this job that the work in here asks for is not sent: the caller does that job next itself.

    Other nudges, and those of other threads, are sent as ever. So is the one that was taken when the work fails.
    """
    taken = Taken(job)
    before = _taken.set(taken)
    try:
        yield taken
    except BaseException:
        if taken.ids is not None:
            send(job, taken.ids)
        raise
    finally:
        _taken.reset(before)


def _is_taken(job: Job, ids: dict[str, int]) -> bool:
    taken = _taken.get()
    return taken is not None and taken.takes(job, ids)


def send_gathered() -> None:
    """Send what was asked for and waits: this process is about to end."""
    _gathered.flush()


def send(job: Job, ids: dict[str, int]) -> None:
    """Nudge at once. Never raises: the sweeps catch up."""
    try:
        _sender(settings.JOB_SENDER)(job, ids)
    except Exception as error:
        # The row is committed: whatever a broker does, the request must not fail (rows are the truth).
        log.warning("job.nudge_failed", job=job.value, error=type(error).__name__, **ids)


_gathered: Gatherer[Job] = Gatherer(lambda job: send(job, {}), lambda: settings.JOB_GATHER_SECONDS)
