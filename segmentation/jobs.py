"""Background work by name. Rows are written first; a job is only a nudge to look at them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache

import structlog
from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

log = structlog.get_logger(__name__)


class Job(StrEnum):
    """Each value is the name of a task that the workers register."""

    PROCESS_INBOUND = "inbound.process"
    RESCORE_DUE = "score.rescore_due"
    RUN_SHARD = "score.run_shard"
    FINISH_SCORING_RUN = "score.finish_run"
    REFRESH_SEGMENT = "score.refresh_segment"
    EXPLAIN = "score.explain"
    RUN_TRAINING = "train.run"
    DELIVER = "outbound.deliver"
    RECONCILE = "default.reconcile"
    IMPORT_FILE = "default.import_file"
    PRIVACY = "default.privacy"
    SWEEP = "default.sweep"
    PRUNE = "default.prune"
    NIGHTLY = "default.nightly"


Sender = Callable[[Job, dict[str, int]], None]


@lru_cache(maxsize=8)
def _sender(path: str) -> Sender:
    return import_string(path)


def enqueue(job: Job, **ids: int) -> None:
    """Nudge after the surrounding transaction commits. A dead broker is logged; the sweeps catch up."""

    def nudge() -> None:
        try:
            _sender(settings.JOB_SENDER)(job, ids)
        except Exception as error:
            # The row is committed: whatever a broker does, the request must not fail (rows are the truth).
            log.warning("job.nudge_failed", job=job.value, error=type(error).__name__, **ids)

    transaction.on_commit(nudge)
