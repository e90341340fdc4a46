"""Queues, workers, clock, broker, database and disk on one page: green, amber or red, and what to do.

Depths come from the rows, which are the truth; the broker's own numbers stand beside them. Every read is bounded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection as database
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from crm_integration import broker
from crm_integration.admin.scheme_words import span
from crm_integration.models import (
    Connection,
    DriftCheck,
    InboundMessage,
    OutboundMessage,
    QueueStatus,
    Reconciliation,
)
from segmentation.dashboard import words
from segmentation.models import (
    DueCustomer,
    ImportRun,
    Leased,
    LeaseState,
    PrivacyRequest,
    PromotionDiff,
    ScoringShard,
    TrainingRun,
    WorkerProcess,
)

Text = str | Promise
COUNT_CAP = 1000
GOOD, WARN, BAD, PLAIN = "good", "warn", "bad", "plain"
RANK = {PLAIN: 0, GOOD: 0, WARN: 1, BAD: 2}
SILENT = timedelta(seconds=60)
GONE = timedelta(minutes=5)
SWEEP_LATE = timedelta(seconds=60)
SWEEP_MISSING = timedelta(minutes=5)
DISK_LOW, DISK_FULL = 0.10, 0.05
PROCESSES_SHOWN = 50


@dataclass(frozen=True)
class Work:
    """A kind of row that is work. `patience`: how long it may be due before that is odd."""

    name: Text
    model: type[Leased]
    queue: str
    patience: timedelta


WORK = (
    Work(_("Received messages"), InboundMessage, "inbound", timedelta(seconds=30)),
    Work(_("Customers to rescore"), DueCustomer, "score", timedelta(minutes=1)),
    Work(_("Parts of classification runs"), ScoringShard, "score", timedelta(hours=1)),
    Work(_("Previews of promotions"), PromotionDiff, "insight", timedelta(minutes=15)),
    Work(_("Deliveries"), OutboundMessage, "outbound", timedelta(minutes=1)),
    Work(_("Training runs"), TrainingRun, "train", timedelta(hours=6)),
    Work(_("Imports"), ImportRun, "default", timedelta(minutes=30)),
    Work(_("Privacy requests"), PrivacyRequest, "default", timedelta(minutes=30)),
    Work(_("Comparisons with CRMs"), Reconciliation, "default", timedelta(hours=1)),
    Work(_("Records of CRMs to read back"), DriftCheck, "default", timedelta(hours=1)),
)


@dataclass(frozen=True)
class QueueRow:
    """`due` counts what could be done now; `later` waits for its time, such as a delivery that is tried again."""

    name: Text
    queue: str
    due: str
    later: str
    running: str
    expired: int
    oldest: str
    in_broker: str
    tone: str
    says: Text


@dataclass(frozen=True)
class ProcessRow:
    name: str
    kind: Text
    queues: str
    seen: str
    job: str
    finished: str
    tone: str
    says: Text


@dataclass(frozen=True)
class Light:
    """One thing that is well or not. `says`: what it means and what to do."""

    name: Text
    tone: str
    says: str


@dataclass(frozen=True)
class SystemPage:
    tone: str
    says: Text
    lights: tuple[Light, ...]
    queues: tuple[QueueRow, ...]
    processes: tuple[ProcessRow, ...]


def build() -> SystemPage:
    now = timezone.now()
    state = broker.look()
    rows = list(WorkerProcess.objects.order_by("-seen_at")[:PROCESSES_SHOWN])
    alive = [row for row in rows if row.seen_at > now - GONE]
    queues = tuple(_queue(work, state, alive, now) for work in WORK)
    processes = tuple(_process(row, now) for row in rows if row.kind != WorkerProcess.Kind.SWEEP)
    lights = (
        _workers(alive),
        _clock(rows, now),
        _sweep(rows, now),
        _broker(state),
        *_consumers(now),
        _leases(queues),
        _database(),
        _disk(),
    )
    tones = [*(light.tone for light in lights), *(queue.tone for queue in queues)]
    worst = max(tones, key=RANK.__getitem__)
    return SystemPage(worst, VERDICTS[worst], lights, queues, processes)


VERDICTS: dict[str, Text] = {
    GOOD: _("Everything works."),
    PLAIN: _("Everything works."),
    WARN: _("Something needs a look."),
    BAD: _("Something does not work."),
}


# --- queues
def _queue(work: Work, state: broker.BrokerState, alive: Sequence[WorkerProcess], now: datetime) -> QueueRow:
    open_rows = work.model._default_manager.filter(state__in=[LeaseState.QUEUED, LeaseState.RUNNING])
    names = ("state", "run_after", "lease_until")
    rows = list(open_rows.order_by("run_after").values_list(*names)[: COUNT_CAP + 1])
    due = [at for kind, at, _lease in rows if kind == LeaseState.QUEUED and at <= now]
    later = sum(kind == LeaseState.QUEUED and at > now for kind, at, _lease in rows)
    leases = [lease for kind, _at, lease in rows if kind == LeaseState.RUNNING]
    expired = sum(lease is None or lease < now for lease in leases)
    late = now - due[0] if due else timedelta(0)
    tone, says = _judged(work, late, any(_takes(row, work.queue) for row in alive), bool(due))
    waiting = state.waiting.get(work.queue)
    return QueueRow(
        work.name,
        work.queue,
        _capped(len(due)),
        _capped(later),
        _capped(len(leases)),
        expired,
        span(int(late.total_seconds())) if due else words.NOTHING,
        words.NOTHING if waiting is None else _capped(waiting),
        tone,
        says,
    )


def _judged(work: Work, late: timedelta, is_taken: bool, has_work: bool) -> tuple[str, Text]:
    if has_work and not is_taken:
        said = _t("No worker takes the queue “%(queue)s”: start one.") % {"queue": work.queue}
        return BAD, said
    if late > work.patience * 5:
        return BAD, _t("Far behind: add workers for the queue “%(queue)s”, or look at the log of one.") % {
            "queue": work.queue
        }
    if late > work.patience:
        return WARN, _t("Behind: more comes than the workers of “%(queue)s” take.") % {"queue": work.queue}
    return GOOD, _t("Up to date.") if not has_work else _t("Moving.")


def _takes(row: WorkerProcess, queue: str) -> bool:
    return row.kind == WorkerProcess.Kind.WORKER and queue in row.queues.split(",")


def _capped(count: int) -> str:
    return words.number(count) if count <= COUNT_CAP else f"{words.number(COUNT_CAP)}+"


# --- processes
def _process(row: WorkerProcess, now: datetime) -> ProcessRow:
    silent = now - row.seen_at
    tone, says = (
        (GOOD, _("Lives."))
        if silent < SILENT
        else (WARN, _("Has said nothing for a minute."))
        if silent < GONE
        else (PLAIN, _("Gone. Nothing to do if it was stopped on purpose."))
    )
    return ProcessRow(
        row.name,
        WorkerProcess.Kind(row.kind).label,
        row.queues.replace(",", ", "),
        _ago(row.seen_at, now),
        row.last_job,
        _ago(row.last_finished_at, now),
        tone,
        says,
    )


def _ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return words.NOTHING
    return _t("%(time)s ago") % {"time": span(max(0, int((now - at).total_seconds())))}


def _workers(alive: Sequence[WorkerProcess]) -> Light:
    count = sum(row.kind == WorkerProcess.Kind.WORKER for row in alive)
    if not count:
        said = _t(
            "None was seen in the last five minutes. Start one: make worker, or the tierwise-worker service."
        )
        return Light(_("Workers"), BAD, said)
    missing = [
        queue
        for queue in dict.fromkeys(work.queue for work in WORK)
        if not any(_takes(row, queue) for row in alive)
    ]
    if missing:
        said = _t("No worker takes: %(queues)s.") % {"queues": ", ".join(missing)}
        return Light(_("Workers"), WARN, said)
    return Light(_("Workers"), GOOD, _t("%(count)d seen, for every queue.") % {"count": count})


def _clock(rows: Iterable[WorkerProcess], now: datetime) -> Light:
    seen = max((row.seen_at for row in rows if row.kind == WorkerProcess.Kind.BEAT), default=None)
    if seen is None or now - seen > GONE:
        said = _t(
            "No beat was seen: nothing is done at its time, and lost messages are not found. A worker of the queue "
            "“default” started with --beat brings one."
        )
        return Light(_("Clock (beat)"), BAD, said)
    return Light(_("Clock (beat)"), GOOD if now - seen < SILENT else WARN, _ago(seen, now))


def _sweep(rows: Iterable[WorkerProcess], now: datetime) -> Light:
    last = max((row.seen_at for row in rows if row.kind == WorkerProcess.Kind.SWEEP), default=None)
    if last is None or now - last > SWEEP_MISSING:
        said = _t(
            "None lately: what a broker loses is not found again. It needs beat and a worker of “default”."
        )
        return Light(_("Sweep"), BAD, said)
    late = now - last > SWEEP_LATE
    return Light(_("Sweep"), WARN if late else GOOD, _ago(last, now))


# --- what everything stands on
def _broker(state: broker.BrokerState) -> Light:
    if state.kind == "embedded":
        return Light(_("Broker"), GOOD, _t("Embedded: messages wait in this database."))
    named = f"{state.kind} {state.where}".strip()
    if not state.is_reachable:
        said = _t(
            "%(broker)s does not answer (%(problem)s). Nothing is lost: the sweep catches up once it is back. Until then "
            "everything is slower."
        ) % {"broker": named, "problem": state.problem}
        return Light(_("Broker"), BAD, said)
    return Light(_("Broker"), GOOD, _t("%(broker)s answers.") % {"broker": named})


def _consumers(now: datetime) -> list[Light]:
    """Only where a connection reads a queue."""
    reading = list(Connection.objects.filter(reads_queue=True, is_active=True).values_list("pk", "name"))
    if not reading:
        return []
    seen = dict(QueueStatus.objects.values_list("connection_id", "seen_at"))
    silent = [name for key, name in reading if seen.get(key) is None or seen[key] < now - SILENT]
    if silent:
        said = _t("No consumer reads the queues of: %(names)s. Start one: make consumer.") % {
            "names": ", ".join(silent)
        }
        return [Light(_("Queue consumer"), BAD, said)]
    return [Light(_("Queue consumer"), GOOD, _t("All queues of connections are read."))]


def _leases(queues: Iterable[QueueRow]) -> Light:
    expired = sum(row.expired for row in queues)
    if not expired:
        return Light(_("Claims"), GOOD, _t("No claim ran out."))
    said = _t(
        "%(count)d claims ran out: a worker was killed or hangs. The rows are taken up again by themselves."
    )
    return Light(_("Claims"), WARN, said % {"count": expired})


def _database() -> Light:
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_database_size(current_database()),"
                " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),"
                " current_setting('max_connections')::int"
            )
            size, used, most = cursor.fetchone()
            tone = WARN if used > 0.8 * most else GOOD
            said = _t("PostgreSQL, %(size)s, %(used)d of %(most)d connections in use.")
            return Light(_("Database"), tone, said % {"size": words.size(size), "used": used, "most": most})
        cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        size = cursor.fetchone()[0]
    return Light(_("Database"), GOOD, _t("SQLite, %(size)s, on this machine.") % {"size": words.size(size)})


def _disk() -> Light:
    """Of the machine that answers: workers elsewhere have their own."""
    try:
        usage: Any = shutil.disk_usage(settings.VAR_DIR)
    except OSError as error:
        return Light(
            _("Disk"), WARN, _t("It cannot be looked at (%(error)s).") % {"error": type(error).__name__}
        )
    share = usage.free / usage.total
    said = _t("%(free)s free, %(share)s of this machine's disk.") % {
        "free": _gigabytes(usage.free),
        "share": words.percent(share),
    }
    if share < DISK_FULL:
        return Light(_("Disk"), BAD, said + " " + _t("Make room now: a full disk stops everything."))
    return Light(_("Disk"), WARN if share < DISK_LOW else GOOD, said)


def _gigabytes(count: int) -> str:
    return f"{words.number(count / 1024**3, 1)} GiB"
