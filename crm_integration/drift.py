"""Reading back what CRMs hold of ours: differences are shown, and what differs can be written again.

A reading is a leased row; each batch is compared outside of any transaction and stored in one. A sample takes those that
were compared longest ago, so that night by night everybody's turn comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import comparing, outbox
from crm_integration.adapters.base import Adapter
from crm_integration.adapters.pushing import Names, Values
from crm_integration.comparing import CannotCompare
from crm_integration.models import Connection, DriftCheck, PushedRecord
from crm_integration.pushed_values import names_of
from segmentation import alerts, leases
from segmentation.jobs import Job, enqueue
from segmentation.models import Alert, AuditEntry, Customer

log = structlog.get_logger(__name__)

SAMPLE = 200
WORK_SECONDS = 120.0
# What was written a moment ago may not be readable yet: search indexes follow.
SETTLED = timedelta(minutes=5)
AT_ONCE = 500


@dataclass(frozen=True)
class Difference:
    """One field or tag of a record. `ours` is what we wrote last, `theirs` what stands there."""

    name: str
    ours: str
    theirs: str


def start_all(*, period: str) -> int:
    """A sample of each connection that writes to a CRM which can be read back; how many are new in this period."""
    rows = Connection.objects.filter(is_active=True, sends_outbound=True, outbound_via=Connection.Via.VENDOR)
    started = 0
    for connection in rows:
        try:
            started += start(connection, period=period, sample=SAMPLE)[1]
        except CannotCompare:
            continue
    return started


def start(connection: Connection, *, period: str, sample: int | None) -> tuple[DriftCheck, bool]:
    """The reading of this period, and whether it is new. sample: how many records; None: all. Raises CannotCompare."""
    _adapter_of(connection)
    with transaction.atomic():
        row, is_new = DriftCheck.objects.get_or_create(
            connection=connection, period=period, defaults={"sample": sample}
        )
        if is_new:
            enqueue(Job.READ_BACK, check_id=row.pk)
    return row, is_new


def _adapter_of(connection: Connection) -> Adapter:
    adapter = comparing.adapter_of(connection)
    if connection.outbound_via != Connection.Via.VENDOR or not adapter.can_read_back:
        raise CannotCompare(
            _("“%(connection)s” does not write to records of a CRM that can be read back.")
            % {"connection": connection.name}
        )
    return adapter


def work(check_id: int, *, seconds: float = WORK_SECONDS) -> None:
    """Compare for about `seconds`; nudges again where records are left. Nothing when another worker has it."""
    comparing.work(DriftCheck.objects.filter(pk=check_id), _walk, seconds=seconds)


def _walk(row: DriftCheck, until: float) -> None:
    adapter = _adapter_of(row.connection)
    assert adapter.pushing is not None
    names = names_of(row.connection, adapter)
    while records := _next(row, adapter.pushing.batch):
        held = adapter.read_back(row.connection, [record.reference for record in records], names=names)
        _store(row, records, held, names)
        if monotonic() >= until:
            comparing.go_on_later(row, Job.READ_BACK, check_id=row.pk)
            return
    comparing.finish(row)
    _tell(row)


def _next(row: DriftCheck, batch: int) -> list[PushedRecord]:
    """Records that this reading has still to compare: all in their order, or those compared longest ago."""
    records = comparable(row.connection).filter(written_at__lt=row.created_at - SETTLED)
    if row.sample is None:
        return list(records.filter(pk__gt=row.cursor).order_by("pk")[:batch])
    left = min(row.sample - row.compared, batch)
    unread = records.exclude(checked_at__gte=row.created_at)
    return list(unread.order_by(F("checked_at").asc(nulls_first=True), "pk")[: max(left, 0)])


def comparable(connection: Connection) -> QuerySet[PushedRecord]:
    return PushedRecord.objects.filter(
        connection=connection, gone_at=None, attempted__isnull=True, customer__merged_into=None
    ).exclude(values={})


def _store(
    row: DriftCheck, records: Sequence[PushedRecord], held: Mapping[str, Values], names: Names
) -> None:
    now = timezone.now()
    differing = gone = 0
    for record in records:
        found = held.get(record.reference)
        record.checked_at = now
        record.gone_at = now if found is None else None
        record.differs = found is not None and bool(_differences(Values.of(record.values), found, names))
        record.held = found.as_json() if found is not None and record.differs else None
        differing += record.differs
        gone += found is None
    with transaction.atomic():
        leases.guard(row)
        # What was written meanwhile is newer than what was read.
        for record in records:
            untouched = PushedRecord.objects.filter(
                pk=record.pk, attempted__isnull=True, version=record.version
            )
            untouched.update(checked_at=now, gone_at=record.gone_at, differs=record.differs, held=record.held)
        row.cursor, row.compared = records[-1].pk, row.compared + len(records)
        row.differing, row.gone = row.differing + differing, row.gone + gone
        row.save(update_fields=["cursor", "compared", "differing", "gone"])
        DriftCheck.objects.filter(pk=row.pk).update(attempts=0)


def _differences(ours: Values, theirs: Values, names: Names) -> list[Difference]:
    """Only fields that we are to write; of tags, those that begin as ours do."""
    fields = [
        Difference(name, ours.fields.get(name, ""), theirs.fields.get(name, ""))
        for name in names.all_fields
        if name in ours.fields and ours.fields[name] != theirs.fields.get(name, "")
    ]
    if not names.tag_prefix:
        return fields
    known, held = ({tag.casefold(): tag for tag in values.tags} for values in (ours, theirs))
    missing = [Difference(_("tag"), known[tag], "") for tag in sorted(known.keys() - held.keys())]
    strange = [Difference(_("tag"), "", held[tag]) for tag in sorted(held.keys() - known.keys())]
    return [*fields, *missing, *strange]


def differences(record: PushedRecord, names: Names) -> list[Difference]:
    """What was read back of this record and is not what we wrote."""
    if record.held is None:
        return []
    return _differences(Values.of(record.values), Values.of(record.held), names)


def push_again(connection: Connection, *, actor: Any = None) -> int:
    """Write whatever differs once more, and nothing else; returns how many customers."""
    rows = PushedRecord.objects.filter(
        connection=connection, differs=True, gone_at=None, attempted__isnull=True
    )
    count = 0
    while records := list(rows.order_by("pk")[:AT_ONCE]):
        with transaction.atomic():
            # As if the record were known to hold what was read: the next write is the difference to what it should hold.
            for record in records:
                # What was written since it was read here is newer than what was read back.
                rows.filter(pk=record.pk).update(values=_as_read(record), held=None, differs=False)
            customers = [record.customer_id for record in records]
            living = Customer.objects.filter(pk__in=customers, merged_into=None).values_list("pk", flat=True)
            count += outbox.stage_again(connection, list(living))
    if count:
        AuditEntry.record("connection.pushed_again", connection, actor=actor, customers=count)
    return count


def _as_read(record: PushedRecord) -> dict[str, Any]:
    """Segments are not read back: what we know of them stays."""
    held = Values.of(record.held)
    return Values(held.fields, held.tags, Values.of(record.values).segments).as_json()


def _tell(row: DriftCheck) -> None:
    key = f"drift-{row.connection_id}"
    if not row.differing:
        alerts.resolve(key)
        return
    alerts.raise_once(
        key,
        _(
            "“%(connection)s” holds other values than we wrote for %(count)d of %(compared)d customers that were "
            "read back. See the connection's page; “Push again” puts them right."
        )
        % {"connection": row.connection.name, "count": row.differing, "compared": row.compared},
        severity=Alert.Severity.WARNING,
    )


def latest(connection: Connection) -> DriftCheck | None:
    return DriftCheck.objects.filter(connection=connection).order_by("-pk").first()


def period_asked(now: datetime) -> str:
    return f"asked {now:%Y-%m-%dT%H:%M:%S.%f}"
