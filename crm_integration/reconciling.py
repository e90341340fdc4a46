"""Comparing a CRM with what its messages told us: pages of what changed there, through the same reading, and a count.

A comparison is a leased row whose cursor moves in the transaction that stores a page: a killed worker's goes on there.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import comparing, facts
from crm_integration.adapters.base import Adapter, Page
from crm_integration.comparing import CannotCompare
from crm_integration.connections import hook_url
from crm_integration.models import Connection, Reconciliation
from segmentation import alerts, leases
from segmentation.jobs import Job, enqueue
from segmentation.models import EventSource, LeaseState

log = structlog.get_logger(__name__)

# What changed a moment ago may have its message still on the way: it is left to the next comparison.
SETTLED = timedelta(minutes=15)
# Clocks differ, and some CRMs count a change a little late.
OVERLAP = timedelta(hours=1)
FIRST = timedelta(days=2)
LONGEST = timedelta(days=30)
WORK_SECONDS = 240.0


def start_all(*, period: str, now: datetime) -> int:
    """A comparison for each connection that can be compared and has none in this period; returns how many."""
    started = 0
    for connection in Connection.objects.filter(is_active=True, accepts_inbound=True).exclude(
        api_credentials=""
    ):
        try:
            started += start(connection, period=period, now=now)[1]
        except CannotCompare:
            continue
    return started


def start(
    connection: Connection, *, period: str, now: datetime, since: datetime | None = None
) -> tuple[Reconciliation, bool]:
    """The comparison of this period and whether it is new. Without `since` it goes on from the last one.

    Raises CannotCompare.
    """
    _adapter_of(connection)
    until = now - SETTLED
    begin = min(since or _since(connection, now), until)
    source = EventSource.objects.filter(slug=connection.slug).first()
    heard_since = source.live_since if source is not None else None
    with transaction.atomic():
        row, is_new = Reconciliation.objects.get_or_create(
            connection=connection,
            period=period,
            defaults={
                "since": begin,
                "until": until,
                "is_backfill": heard_since is None or begin < heard_since - OVERLAP,
            },
        )
        if is_new:
            enqueue(Job.RECONCILE, reconciliation_id=row.pk)
    return row, is_new


def _adapter_of(connection: Connection) -> Adapter:
    adapter = comparing.adapter_of(connection)
    if not adapter.can_reconcile:
        raise CannotCompare(
            str(adapter.why_not_compared)
            or _("Connections of the kind “%(kind)s” cannot be compared: there is nothing to ask.")
            % {"kind": adapter.label}
        )
    if not connection.credentials:
        raise CannotCompare(
            _("No API credentials are set for “%(connection)s”; enter them on its page.")
            % {"connection": connection.name}
        )
    return adapter


def _since(connection: Connection, now: datetime) -> datetime:
    """From the end of the last finished comparison; at first from when messages began to arrive."""
    done = Reconciliation.objects.filter(connection=connection, state=LeaseState.DONE, is_backfill=False)
    last = done.order_by("-until").values_list("until", flat=True).first()
    if last is not None:
        return last - OVERLAP
    live = EventSource.objects.filter(slug=connection.slug).values_list("live_since", flat=True).first()
    return max(live, now - LONGEST) if live is not None else now - FIRST


def work(reconciliation_id: int, *, seconds: float = WORK_SECONDS) -> None:
    """Walk a comparison for about `seconds`; nudges again where pages are left. Nothing when another worker has it."""
    comparing.work(Reconciliation.objects.filter(pk=reconciliation_id), _walk, seconds=seconds)


def _walk(row: Reconciliation, until: float) -> None:
    adapter = _adapter_of(row.connection)
    pages = adapter.pages(row.connection, since=row.since, until=row.until, cursor=row.cursor or None)
    for page in pages:
        _store(row, adapter, page)
        if page.cursor is not None and monotonic() >= until:
            comparing.go_on_later(row, Job.RECONCILE, reconciliation_id=row.pk)
            return
    _finish(row)


def _store(row: Reconciliation, adapter: Adapter, page: Page) -> None:
    """A page, its counts and the cursor behind it in one transaction; a stored page makes up for failed attempts."""
    with transaction.atomic():
        leases.guard(row)
        recorded = facts.record(
            page.parsed, adapter, row.connection, received_at=timezone.now(), cause="reconcile"
        )
        report, rejections = recorded.report, recorded.rejections
        Reconciliation.objects.filter(pk=row.pk).update(
            pages=F("pages") + 1,
            known=F("known") + report.repeated,
            events_missed=F("events_missed") + report.created,
            customers_missed=F("customers_missed") + len(report.customer_ids),
            rejected=F("rejected") + len(rejections),
            cursor=page.cursor or {},
            attempts=0,
        )


def _finish(row: Reconciliation) -> None:
    comparing.finish(row)
    if row.is_backfill:
        return
    key = f"messages-missed-{row.connection_id}"
    if not row.events_missed:
        alerts.resolve(key)
        return
    log.warning("reconciliation.missed", reconciliation_id=row.pk, events=row.events_missed)
    alerts.raise_once(
        key,
        _(
            "%(events)d facts about %(customers)d customers had not reached us from “%(connection)s” since "
            "%(since)s. They are stored now. Check in the CRM that its webhook for %(address)s is active."
        )
        % {
            "events": row.events_missed,
            "customers": row.customers_missed,
            "connection": row.connection.name,
            "since": row.since.date().isoformat(),
            "address": hook_url(row.connection),
        },
    )
