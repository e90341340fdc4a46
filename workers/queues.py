"""One table: which queue a job goes to, how long it may take, and when its message is acknowledged."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from segmentation.jobs import Job

# What somebody waits for at a page, and may take minutes, has a queue of its own: a webhook's rescore, which goes through
# "score", never stands behind it.
QUEUES = ("inbound", "score", "insight", "train", "outbound", "default")

# How long a job that works off whatever is due begins with more of it, if more comes in all the time: about one batch, so
# that what the batch leads to (workers/following.py) and jobs of other kinds need not wait.
TURN_SECONDS = 0.02


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
    Job.REFRESH_SEGMENT: JobPolicy("insight", 900),
    Job.EXPLAIN: JobPolicy("score", 60),
    Job.BACKTEST: JobPolicy("insight", 900),
    Job.ESTIMATE: JobPolicy("insight", 900),
    Job.ANSWER: JobPolicy("score", 60),
    Job.PROMOTION_DIFF: JobPolicy("insight", 900),
    Job.DRAW_MAP: JobPolicy("insight", 900),
    Job.MEASURE: JobPolicy("insight", 900),
    Job.COUNT_RULE: JobPolicy("insight", 900),
    Job.DEMAND_OUTLOOK: JobPolicy("insight", 900),
    Job.READ_TEXTS: JobPolicy("insight", 900),
    Job.RUN_TRAINING: JobPolicy("train", 6 * 3600, late=False),
    Job.RUN_EVALUATION: JobPolicy("train", 6 * 3600, late=False),
    Job.DELIVER: JobPolicy("outbound", 120),
    Job.IMPORT_FILE: JobPolicy("default", 6 * 3600, late=False),
    Job.PRIVACY: JobPolicy("default", 6 * 3600, late=False),
    Job.RECONCILE: JobPolicy("default", 600),
    Job.READ_BACK: JobPolicy("default", 600),
    Job.SWEEP: JobPolicy("default", 60),
    Job.PRUNE: JobPolicy("default", 900),
    Job.NIGHTLY: JobPolicy("default", 300),
    Job.RETRAIN: JobPolicy("default", 300),
}
