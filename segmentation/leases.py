"""Claiming rows that are work: conditional UPDATE, expiring lease, fencing token, the database's clock."""

# Names in the statement come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache, partial
from threading import Event, Thread
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from segmentation import bulk, outages
from segmentation.models.leased import Leased, LeaseState

log = structlog.get_logger(__name__)
Row = TypeVar("Row", bound=Leased)
# How long a killed worker holds its rows: whoever lives prolongs the claim while it works (see `kept`).
LEASE = timedelta(seconds=15)
MAX_ATTEMPTS = 3
ERROR_LENGTH = 4000
_known: WeakKeyDictionary[QuerySet[Any], dict[tuple[int, int], tuple[str, tuple[Any, ...]]]] = (
    WeakKeyDictionary()
)
OVER = (LeaseState.DONE, LeaseState.FAILED, LeaseState.CANCELLED)


class LeaseLost(Exception):
    """Another worker holds the row now, or it was cancelled: stop and write nothing more."""


class Cancelled(Exception):
    """Someone asked for this work to stop."""


def claimable(rows: QuerySet[Row]) -> QuerySet[Row]:
    """Due rows: waiting and not before now, or running under a lease that ran out."""
    waiting = Q(state=LeaseState.QUEUED, run_after__lte=Now())
    abandoned = Q(state=LeaseState.RUNNING, lease_until__lt=Now())
    return rows.filter(waiting | abandoned)


def claim(
    rows: QuerySet[Row],
    *,
    lease: timedelta = LEASE,
    limit: int = 1,
    max_attempts: int = MAX_ATTEMPTS,
    **marks: Any,
) -> list[Row]:
    """Claim up to `limit` due rows, oldest first; rows that already failed `max_attempts` times are parked.

    `marks` are columns that are set with the claim.
    """
    # An idle worker only reads: SQLite has one write lock.
    states = set(_oldest(rows, limit).values_list("state", flat=True))
    if LeaseState.RUNNING in states:
        _park_poison(rows, max_attempts=max_attempts)
    if not states:
        return []
    return take(rows, lease=lease, limit=limit, max_attempts=max_attempts, **marks)


def take(
    rows: QuerySet[Row],
    *,
    lease: timedelta = LEASE,
    limit: int = 1,
    max_attempts: int = MAX_ATTEMPTS,
    **marks: Any,
) -> list[Row]:
    """As `claim` for whoever has seen that there is work: it writes without a look, and parks nothing."""
    if connection.vendor == "postgresql":
        return _claim_at_once(rows, lease=lease, limit=limit, max_attempts=max_attempts, marks=marks)
    healthy = _healthy(rows, max_attempts)
    return _claim_alone(healthy, lease=lease, limit=limit, marks=marks)


def _healthy(rows: QuerySet[Row], max_attempts: int) -> QuerySet[Row]:
    """Beyond the oldest rows that somebody looked at there may be poison, which its own turn will park."""
    return rows.filter(Q(state=LeaseState.QUEUED) | Q(attempts__lt=max_attempts))


def _oldest(rows: QuerySet[Row], limit: int) -> QuerySet[Row]:
    return claimable(rows).order_by("run_after", "pk")[:limit]


def _claim_at_once(
    rows: QuerySet[Row], *, lease: timedelta, limit: int, max_attempts: int, marks: dict[str, Any]
) -> list[Row]:
    """Found, locked, marked and read by one statement (PostgreSQL), so a claim is one journey."""
    model = rows.model
    due, values = _due(rows, limit, max_attempts)
    table = connection.ops.quote_name(model._meta.db_table)
    marked = "".join(f", {connection.ops.quote_name(name)} = %s" for name in marks)
    claimed = model._default_manager.raw(
        # Worked out once, whatever the plan: else a limit may be passed.
        f"WITH due (id) AS MATERIALIZED ({due} FOR UPDATE OF {table} SKIP LOCKED)"
        f" UPDATE {table} SET state = %s, attempts = attempts + 1, fence = fence + 1,"
        f" lease_until = statement_timestamp() + %s, started_at = statement_timestamp(), error = ''{marked}"
        f" FROM due WHERE {table}.id = due.id RETURNING {table}.*",
        [*values, LeaseState.RUNNING, lease, *marks.values()],
    )
    return sorted(claimed, key=lambda row: (row.run_after, row.pk))


def _due(rows: QuerySet[Any], limit: int, max_attempts: int) -> tuple[str, tuple[Any, ...]]:
    """The statement that finds them; of a queryset that the caller keeps it is worked out once."""
    known = _known.setdefault(rows, {})
    key = (limit, max_attempts)
    if key not in known:
        known[key] = _oldest(_healthy(rows, max_attempts), limit).values("pk").query.sql_with_params()
    return known[key]


def _claim_alone(rows: QuerySet[Row], *, lease: timedelta, limit: int, marks: dict[str, Any]) -> list[Row]:
    """The same where one writer at a time is all there can be (SQLite)."""
    manager = rows.model._default_manager
    with transaction.atomic():
        keys = list(_oldest(rows, limit).values_list("pk", flat=True))
        claimable(manager.filter(pk__in=keys)).update(
            state=LeaseState.RUNNING,
            attempts=F("attempts") + 1,
            fence=F("fence") + 1,
            lease_until=Now() + lease,
            started_at=Now(),
            error="",
            **marks,
        )
        return list(manager.filter(pk__in=keys, state=LeaseState.RUNNING).order_by("run_after", "pk"))


def _park_poison(rows: QuerySet[Row], *, max_attempts: int) -> None:
    """A row whose every worker died is stopped visibly instead of killing the next one."""
    poison = claimable(rows).filter(state=LeaseState.RUNNING, attempts__gte=max_attempts)
    poison.update(
        state=LeaseState.FAILED,
        lease_until=None,
        finished_at=Now(),
        fence=F("fence") + 1,
        error=_("Stopped after %(count)d attempts whose worker ended without an answer.")
        % {"count": max_attempts},
    )


def _held(row: Row) -> QuerySet[Row]:
    model: Any = type(row)
    return model._default_manager.filter(pk=row.pk, state=LeaseState.RUNNING, fence=row.fence)


@contextmanager
def kept(rows: Sequence[Leased], *, lease: timedelta = LEASE) -> Iterator[None]:
    """Prolong the claims beside the work: one long step outlasts a short lease, and a killed worker's soon ends."""
    over = Event()
    Thread(target=_keep, args=(rows, lease, over), name="lease-keeper", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _keep(rows: Sequence[Leased], lease: timedelta, over: Event) -> None:
    """A database that is away for a moment is asked again; work that ends soon never opens a connection."""
    while not over.wait(lease.total_seconds() / 3):
        try:
            prolong(rows, lease=lease)
        except (DatabaseError, InterfaceError):
            pass
        finally:
            connection.close()


def prolong(rows: Sequence[Leased], *, lease: timedelta = LEASE) -> None:
    """Prolong whichever claims still stand. Rows that are being written are left alone: waiting could lock up."""
    with transaction.atomic():
        for model, fence in {(type(row), row.fence) for row in rows}:
            keys = [row.pk for row in rows if type(row) is model and row.fence == fence]
            manager: Any = model._default_manager
            held = manager.filter(pk__in=keys, state=LeaseState.RUNNING, fence=fence)
            if connection.features.has_select_for_update_skip_locked:
                held = manager.filter(pk__in=held.select_for_update(skip_locked=True).values("pk"))
            held.update(lease_until=Now() + lease)


def renew(
    row: Leased, *, lease: timedelta = LEASE, progress: float | None = None, note: str | None = None
) -> None:
    """Prolong the claim and record progress. Raises LeaseLost, or Cancelled when someone asked to stop."""
    changes: dict[str, Any] = {"lease_until": Now() + lease}
    if progress is not None:
        changes["progress"] = min(max(progress, 0.0), 1.0)
    if note is not None:
        changes["progress_note"] = note[:200]
    if not _held(row).update(**changes):
        raise LeaseLost(f"{type(row).__name__} {row.pk} is no longer held")
    if _held(row).filter(cancel_requested=True).exists():
        raise Cancelled(f"{type(row).__name__} {row.pk} was asked to stop")


def guard(row: Leased) -> None:
    """Inside a transaction: lock the row and check that the claim still stands; raises LeaseLost."""
    held = _held(row)
    if connection.features.has_select_for_update:
        held = held.select_for_update()
    if not held.values_list("pk", flat=True).first():
        raise LeaseLost(f"{type(row).__name__} {row.pk} is no longer held")


def guarded(rows: Sequence[Row]) -> list[Row]:
    """Inside a transaction: as `guard` for rows of one model; those whose claim still stands."""
    model: Any = type(rows[0])
    keys = sorted(row.pk for row in rows)
    fences = dict(bulk.values_in(_running(model), keys, "pk", "fence", by="pk"))
    return [row for row in rows if fences.get(row.pk) == row.fence]


@lru_cache
def _running(model: Any) -> QuerySet[Any]:
    """Kept, so that its statement is worked out once (segmentation/lookups.py)."""
    return model._default_manager.filter(state=LeaseState.RUNNING).order_by("pk").select_for_update()


def finish_all(rows: Sequence[Row], changes: Sequence[Mapping[str, Any]]) -> None:
    """As `finish` for rows of one model that are `guarded` in this transaction, each with its own changes.

    All change the same columns, to values that the rows have then as well.
    """
    if not rows:
        return
    model: Any = type(rows[0])
    columns = sorted(changes[0])
    bulk.update(
        model,
        ("id", *columns),
        [(row.pk, *(told[name] for name in columns)) for row, told in zip(rows, changes, strict=True)],
    )
    finish_together(rows)
    for row, told in zip(rows, changes, strict=True):
        for name, value in told.items():
            setattr(row, name, value)


def finish_together(rows: Sequence[Row], **changes: Any) -> None:
    """As `finish` for rows of one model that are `guarded` in this transaction, all with the same changes."""
    if not rows:
        return
    model: Any = type(rows[0])
    model._default_manager.filter(pk__in=[row.pk for row in rows]).update(
        state=LeaseState.DONE, progress=1.0, lease_until=None, finished_at=Now(), **changes
    )
    for row in rows:
        row.state, row.lease_until = LeaseState.DONE, None


def release(rows: Sequence[Leased]) -> None:
    """Give rows of one model back untried: their turn did not come."""
    _give_back(rows, attempts=F("attempts") - 1)


def give_all_back(rows: Sequence[Leased], told: str) -> None:
    """As `gave_back` for rows of one model that nobody tried before; those whose claim is gone are left alone."""
    again = partial(_give_back, rows, run_after=Now() + outages.PAUSE, error=told[:ERROR_LENGTH])
    outages.once_it_is_back(again, within=LEASE)


def _give_back(rows: Sequence[Leased], **changes: Any) -> None:
    if not rows:
        return
    model: Any = type(rows[0])
    with transaction.atomic():
        model._default_manager.filter(pk__in=[row.pk for row in guarded(rows)]).update(
            state=LeaseState.QUEUED, lease_until=None, **changes
        )


def finish(row: Leased, **changes: Any) -> None:
    """Mark done together with `changes`; raises LeaseLost when the claim is gone."""
    _end(row, state=LeaseState.DONE, progress=1.0, **changes)


def fail(row: Leased, error: str, **changes: Any) -> None:
    """Mark failed for good, with the reason that staff will read."""
    _end(row, state=LeaseState.FAILED, error=error[:ERROR_LENGTH], **changes)


def cancel(row: Leased, **changes: Any) -> None:
    _end(row, state=LeaseState.CANCELLED, **changes)


def ask_to_stop(row: Leased) -> bool:
    """End a row that waits at once, and ask whoever works on one to stop (`renew`); False when it is over already."""
    model: Any = type(row)
    rows = model._default_manager.filter(pk=row.pk)
    waiting = rows.filter(state=LeaseState.QUEUED)
    ended = waiting.update(state=LeaseState.CANCELLED, cancel_requested=True, finished_at=Now())
    return bool(ended or rows.filter(state=LeaseState.RUNNING).update(cancel_requested=True))


def retry(row: Leased, *, after: timedelta, error: str, **changes: Any) -> None:
    """Give the row back to be claimed again after a while."""
    updated = _held(row).update(
        state=LeaseState.QUEUED,
        lease_until=None,
        run_after=Now() + after,
        error=error[:ERROR_LENGTH],
        **changes,
    )
    if not updated:
        raise LeaseLost(f"{type(row).__name__} {row.pk} is no longer held")


def start_over(row: Leased, **changes: Any) -> bool:
    """Make a row that is over wait again, with all its attempts; False when it is not over."""
    model: Any = type(row)
    changed = model._default_manager.filter(pk=row.pk, state__in=OVER).update(
        state=LeaseState.QUEUED,
        attempts=0,
        run_after=Now(),
        finished_at=None,
        cancel_requested=False,
        error="",
        progress=0,
        **changes,
    )
    return bool(changed)


def fail_or_retry(row: Leased, error: str, *, after: timedelta, max_attempts: int = MAX_ATTEMPTS) -> None:
    """Try again, after a wait that grows with the attempts, or stop for good when they are used up."""
    if row.attempts >= max_attempts:
        fail(row, error)
    else:
        retry(row, after=after * row.attempts, error=error)


def try_later(row: Leased, error: Exception, *, after: timedelta, told: str = "") -> None:
    """As `fail_or_retry` for what was raised, or `gave_back`. told: for staff, instead of the error's type and text."""
    told = told or f"{type(error).__name__}: {error}"
    if not gave_back(row, error, told):
        fail_or_retry(row, told, after=after)


def gave_back(row: Leased, error: Exception, told: str) -> bool:
    """Where the database was gone: wait for it, and give the row back to be tried again soon. The attempt does not count,
    beyond the first, which keeps it apart from rows that nobody tried."""
    if not outages.is_lost(error):
        return False
    if row.fence >= outages.CLAIMS:
        connection.close()
        return False
    again = partial(retry, row, after=outages.pause(row.fence), error=told, attempts=max(row.attempts - 1, 1))
    outages.once_it_is_back(again, within=LEASE)
    return True


@contextmanager
def worked(row: Leased, *, after: timedelta) -> Iterator[None]:
    """The work on a claimed row: its claim is kept meanwhile, and whatever ends the work early ends visibly.

    Whoever asked it to stop is obeyed; an error is tried again after a wait, and stays on the row when it keeps failing.
    """
    try:
        with kept([row]):
            yield
    except Cancelled:
        cancel(row)
    except LeaseLost:
        log.warning("lease.lost", model=type(row).__name__, row=row.pk)
    except Exception as error:
        log.exception("work.failed", model=type(row).__name__, row=row.pk)
        with suppress(LeaseLost):
            try_later(row, error, after=after)


def _end(row: Leased, **changes: Any) -> None:
    if not _held(row).update(lease_until=None, finished_at=Now(), **changes):
        raise LeaseLost(f"{type(row).__name__} {row.pk} is no longer held")
    row.refresh_from_db()
