"""What beat nudges. Each job looks at the rows and does nothing when nothing is due."""

from __future__ import annotations

from segmentation.jobs import Job

SWEEP_SECONDS = 5.0
# Longer than until the next one: clocks differ, and a worker may be busy.
SWEEP_LIVES = 15.0
NIGHTLY_CHECK_SECONDS = 600.0
PRUNE_SECONDS = 3600.0

BEAT = {
    "sweep": {"task": Job.SWEEP.value, "schedule": SWEEP_SECONDS, "options": {"expires": SWEEP_LIVES}},
    "nightly": {"task": Job.NIGHTLY.value, "schedule": NIGHTLY_CHECK_SECONDS, "options": {"expires": 60}},
    "retrain": {"task": Job.RETRAIN.value, "schedule": NIGHTLY_CHECK_SECONDS, "options": {"expires": 60}},
    "read_texts": {
        "task": Job.READ_TEXTS.value,
        "schedule": NIGHTLY_CHECK_SECONDS,
        "options": {"expires": 60},
    },
    "reconcile": {
        "task": Job.RECONCILE.value,
        "schedule": NIGHTLY_CHECK_SECONDS,
        "options": {"expires": 60},
    },
    "read_back": {
        "task": Job.READ_BACK.value,
        "schedule": NIGHTLY_CHECK_SECONDS,
        "options": {"expires": 60},
    },
    "prune": {"task": Job.PRUNE.value, "schedule": PRUNE_SECONDS, "options": {"expires": 60}},
}
