"""One table: which queue a job goes to, how long it may take, and when its message is acknowledged."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from segmentation.jobs import Job

QUEUES = ("inbound", "score", "train", "outbound", "default")


def full_name(queue: str) -> str:
    """The queue's name at the broker; CELERY_QUEUE_PREFIX keeps installations on one broker apart."""
    return f"{settings.CELERY_QUEUE_PREFIX}{queue}"


@dataclass(frozen=True)
class JobPolicy:
    """Limits in seconds. `late`: acknowledge after the work; training acknowledges at once (its row holds the lease)."""

    queue: str
    soft_limit: int
    late: bool = True

    @property
    def hard_limit(self) -> int:
        return self.soft_limit + 30


POLICIES: dict[Job, JobPolicy] = {
    Job.PROCESS_INBOUND: JobPolicy("inbound", 120),
    Job.RESCORE_DUE: JobPolicy("score", 300),
    Job.RUN_SHARD: JobPolicy("score", 900),
    Job.FINISH_SCORING_RUN: JobPolicy("score", 300),
    Job.REFRESH_SEGMENT: JobPolicy("score", 900),
    Job.EXPLAIN: JobPolicy("score", 60),
    Job.RUN_TRAINING: JobPolicy("train", 6 * 3600, late=False),
    Job.DELIVER: JobPolicy("outbound", 60),
    Job.IMPORT_FILE: JobPolicy("default", 6 * 3600, late=False),
    Job.PRIVACY: JobPolicy("default", 6 * 3600, late=False),
    Job.RECONCILE: JobPolicy("default", 600),
    Job.SWEEP: JobPolicy("default", 60),
    Job.PRUNE: JobPolicy("default", 900),
    Job.NIGHTLY: JobPolicy("default", 300),
}
