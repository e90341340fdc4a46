"""A worker keeps its database connection from job to job, as a web process does from request to request.

Celery would close it before and after each: a new session a job, whose first statements are planned anew. So it is left
to Django's rules (CONN_MAX_AGE, CONN_HEALTH_CHECKS): one that is too old or gone is replaced before the job's first
statement, and what a failed job leaves behind is not used again.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery, states
from celery.signals import task_postrun, task_prerun
from django.db import close_old_connections, connections


def keep(app: Celery) -> None:
    app.conf.CELERY_DB_REUSE_MAX = sys.maxsize
    task_prerun.connect(_before)
    task_postrun.connect(_after)


def _before(sender: Any = None, **_told: Any) -> None:
    if not sender.request.is_eager:
        close_old_connections()


def _after(sender: Any = None, state: str = "", **_told: Any) -> None:
    if sender.request.is_eager:
        return
    if state == states.SUCCESS:
        close_old_connections()
    else:
        connections.close_all()
