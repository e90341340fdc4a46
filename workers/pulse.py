"""Background processes say that they live, so that staff see on one page which one is missing."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from time import monotonic
from typing import Any

import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now

from segmentation.jobs import Job
from segmentation.models import WorkerProcess

log = structlog.get_logger(__name__)

EVERY_SECONDS = 15.0
# A pool child writes no more often, however many jobs it does.
BETWEEN_JOBS = 5.0
KEPT = timedelta(days=1)
SWEEP = "sweep"
# The main process names itself here, and its children inherit the name.
NAME = "TIERWISE_PROCESS"
CLOCK = {"sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')", "postgresql": "statement_timestamp()"}
_last_written = 0.0


def name_this_process() -> str:
    """`host:pid`, remembered for the children."""
    name = os.environ[NAME] = f"{socket.gethostname()[:90]}:{os.getpid()}"
    return name


def beat(name: str, kind: WorkerProcess.Kind, queues: str = "") -> None:
    """Say that a main process lives, over a connection that is opened and closed for it.

    It is called from event loops that also fork children: no connection may be open then, and a database that is away
    may hold the loop up for a moment only.
    """
    database = _quick_connection()
    table = database.ops.quote_name(WorkerProcess._meta.db_table)
    clock = CLOCK[database.vendor]
    try:
        with database.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (name, kind, queues, started_at, seen_at, last_job)"  # noqa: S608
                f" VALUES (%s, %s, %s, {clock}, {clock}, '')"
                " ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, queues = excluded.queues",
                [name, kind.value, queues[:200]],
            )
    except (DatabaseError, InterfaceError) as error:
        log.info("pulse.not_written", error=type(error).__name__)
    finally:
        database.close()


def _quick_connection() -> BaseDatabaseWrapper:
    database = connections.create_connection(DEFAULT_DB_ALIAS)
    patience: dict[str, Any] = (
        {"timeout": 1}
        if database.vendor == "sqlite"
        else {"connect_timeout": 2, "options": "-c statement_timeout=2000"}
    )
    options = {**database.settings_dict.get("OPTIONS", {}), **patience}
    options.pop("pool", None)
    database.settings_dict = {**database.settings_dict, "OPTIONS": options}
    return database


def finished(job: Job) -> None:
    """A pool child has finished a job; written every few seconds, and never in the way of the work."""
    global _last_written
    name = os.environ.get(NAME)
    if name is None or monotonic() - _last_written < BETWEEN_JOBS:
        return
    _last_written = monotonic()
    try:
        WorkerProcess.objects.filter(name=name).update(
            last_job=job.value, last_finished_at=Now(), seen_at=Now()
        )
    except (DatabaseError, InterfaceError) as error:
        log.info("pulse.not_written", error=type(error).__name__)


def swept() -> None:
    """The sweep went through; processes that have been gone for a day are forgotten."""
    rows = WorkerProcess.objects.filter(name=SWEEP)
    if not rows.update(seen_at=Now(), last_finished_at=Now()):
        WorkerProcess.objects.bulk_create(
            [WorkerProcess(name=SWEEP, kind=WorkerProcess.Kind.SWEEP)], ignore_conflicts=True
        )
        rows.update(last_finished_at=Now())
    WorkerProcess.objects.filter(seen_at__lt=Now() - KEPT).delete()
