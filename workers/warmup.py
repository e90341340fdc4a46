"""A fresh worker process loads the learning libraries and the champions before the first event needs them."""

from __future__ import annotations

from threading import Thread
from typing import Any

import structlog
from celery import signals
from django.db import connection

log = structlog.get_logger(__name__)


@signals.worker_init.connect
def share(**kwargs: Any) -> None:
    """Before the pool is forked, so that a child that takes the place of a killed one need not load them first.

    Loaded, not used: a parent that ever computed with torch would hang its children.
    """
    import lightgbm  # noqa: F401
    import torch  # noqa: F401


@signals.worker_process_init.connect
def start(**kwargs: Any) -> None:
    """Beside the process's start, which Celery wants to be quick."""
    Thread(target=warm, name="warm-up", daemon=True).start()


def warm() -> None:
    """Whatever fails here fails again, with its reason, in the job that needs it."""
    try:
        from segmentation import decisions, memberships, retention, scoring, serving  # noqa: F401

        retention.prune_local_files()

        for served in scoring.pin().servings:
            if served.version is not None:
                serving.predictor(served.version)
    except Exception as error:
        log.info("worker.not_warm", error=type(error).__name__)
    finally:
        connection.close()
