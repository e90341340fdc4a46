"""One attempt to bring a CRM's records in line: many customers at once, each message settled on its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import facts, payloads
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter
from crm_integration.adapters.pushing import DONE, How, Names, Outcome, Write
from crm_integration.http import DeliveryError
from crm_integration.models import Connection, OutboundMessage, PushedRecord
from crm_integration.pushed_values import change, names_of, wanted
from segmentation import identities
from segmentation.models import Customer, CustomerIdentity

# Messages that one worker sends to a receiver one after the other, over one line.
IN_TURN = 25


@dataclass(frozen=True)
class Pushed:
    """How it went for one message. `error` empty: it is done. `is_dropped`: there is nothing to write to.

    `is_refused`: the CRM will not take these values, so trying again is for staff to decide.
    `values`: what the record holds now.
    """

    error: str = ""
    is_refused: bool = False
    is_dropped: bool = False
    retry_after: timedelta | None = None
    record_id: int | None = None
    values: Mapping[str, Any] | None = None
    is_gone: bool = False


def is_written_to(connection: Connection) -> bool:
    """Whether what is decided goes to the records of its CRM."""
    return connection.outbound_via == Connection.Via.VENDOR


def batch_of(connection: Connection) -> int:
    """How many messages one attempt takes."""
    if not is_written_to(connection):
        return IN_TURN
    adapter = registry.ADAPTERS.get(connection.adapter)
    return adapter.pushing.batch if adapter is not None and adapter.pushing else 1


def adapter_of(connection: Connection) -> Adapter:
    """The adapter of a connection that writes to its CRM; a permanent DeliveryError where its kind cannot."""
    adapter = registry.get(connection.adapter)
    if adapter.pushing is None:
        raise DeliveryError(
            _("Records of the kind “%(kind)s” cannot be written to; deliver to a web address instead.")
            % {"kind": adapter.label},
            permanent=True,
        )
    return adapter


@dataclass(frozen=True)
class Plan:
    """What one attempt is going to do: worked out with the database, carried out without it."""

    connection: Connection
    adapter: Adapter
    names: Names
    settled: Mapping[int, Pushed]  # what needs no request
    probes: tuple[int, ...]  # test messages
    writes: tuple[Write, ...]
    records: Mapping[int, int]  # message id → record id

    def carry_out(self) -> dict[int, Pushed]:
        """Write to the CRM; how it went by message id. No database, and outside of any transaction.

        Raises DeliveryError when nothing is known to have arrived. Writing the same twice changes nothing.
        """
        results = dict(self.settled)
        if self.probes:
            self.adapter.probe(self.connection, names=self.names)
            results |= {key: Pushed() for key in self.probes}
        changing = [write for write in self.writes if not write.is_empty]
        outcomes = self.adapter.push(self.connection, changing, names=self.names) if changing else {}
        for write in self.writes:
            results[write.key] = _result(write, self.records[write.key], outcomes.get(write.key, DONE))
        return results


def plan(connection: Connection, messages: Sequence[OutboundMessage]) -> Plan:
    """What these messages say, against what the CRM's records hold. Raises DeliveryError where the kind cannot."""
    adapter = adapter_of(connection)
    names = names_of(connection, adapter)
    about = [message for message in messages if message.topic in payloads.CUSTOMER_TOPICS]
    probes = tuple(message.pk for message in messages if message.topic == payloads.TEST_TOPIC)
    found = _records(connection, adapter, about)
    settled = {message.pk: _nothing_to_hold() for message in messages}
    writes: list[Write] = []
    records: dict[int, PushedRecord] = {}
    for message in about:
        record = found.get(message.customer_id or 0)
        if isinstance(record, PushedRecord):
            writes.append(_write(message, record, adapter, names))
            records[message.pk] = record
            del settled[message.pk]
        else:
            settled[message.pk] = Pushed(error=record or _no_record(), is_dropped=True)
    _announce([write for write in writes if not write.is_empty], records)
    keys = {message: record.pk for message, record in records.items()}
    return Plan(connection, adapter, names, settled, probes, tuple(writes), keys)


def _write(message: OutboundMessage, record: PushedRecord, adapter: Adapter, names: Names) -> Write:
    assert adapter.pushing is not None
    told = orjson.loads(bytes(message.body))["data"]
    goal = wanted(told, names, adapter.pushing)
    return change(record, goal, key=message.pk, message_id=message.message_id, told=told)


def _nothing_to_hold() -> Pushed:
    """The end of a job, say, is told to receivers that listen."""
    return Pushed(error=_("Records of a CRM hold nothing of this kind."), is_dropped=True)


def _no_record() -> str:
    return _("This customer has no record in this CRM.")


def _records(
    connection: Connection, adapter: Adapter, messages: Sequence[OutboundMessage]
) -> dict[int, PushedRecord | str]:
    """The record of each customer, made where it is written to for the first time; or why there is none."""
    ids = {message.customer_id for message in messages if message.customer_id is not None}
    told = references(connection, adapter, ids)
    known = {
        record.customer_id: record
        for record in PushedRecord.objects.filter(connection=connection, customer__in=ids)
    }
    fresh = [
        PushedRecord(connection=connection, customer_id=customer, reference=reference)
        for customer, reference in told.items()
        if customer not in known
    ]
    if fresh:
        PushedRecord.objects.bulk_create(fresh, ignore_conflicts=True)
        rows = PushedRecord.objects.filter(
            connection=connection, customer__in=[row.customer_id for row in fresh]
        )
        known |= {record.customer_id: record for record in rows}
    found: dict[int, PushedRecord | str] = {}
    for customer, record in known.items():
        reference = told.get(customer)
        if reference is None:
            continue
        if record.reference != reference:
            # The CRM knows them under another id now: what the other record held says nothing about this one.
            record.reference, record.values, record.attempted, record.gone_at = reference, {}, None, None
            record.save(update_fields=["reference", "values", "attempted", "gone_at"])
        found[customer] = _("The customer was deleted in this CRM.") if record.gone_at else record
    return found


def references(connection: Connection, adapter: Adapter, customers: Iterable[int]) -> dict[int, str]:
    """Customer id → the id under which the CRM knows them, the newest of several; nobody who is merged into another."""
    wanted_ids = set(customers)
    namespace = facts.namespace_of(connection, adapter)
    living = Customer.objects.filter(pk__in=wanted_ids, merged_into=None)
    if namespace == identities.SHOP:
        return {
            key: reference
            for key, reference in living.values_list("pk", "reference")
            if not reference.startswith(f"{identities.GUEST}:")
        }
    of_those = Q(customer__in=living.values("pk")) | Q(customer__merged_into__in=living.values("pk"))
    rows = CustomerIdentity.objects.filter(of_those, namespace=namespace).annotate(
        into=F("customer__merged_into")
    )
    found: dict[int, tuple[bool, int, str]] = {}
    for key, customer, into, value in rows.values_list("pk", "customer", "into", "value"):
        # Their own id before that of somebody who was merged into them.
        rank = (into is None, key, value)
        home = into or customer
        found[home] = max(found.get(home, rank), rank)
    return {home: value for home, (_own, _key, value) in found.items()}


def _announce(writes: Sequence[Write], records: Mapping[int, PushedRecord]) -> None:
    """Say what is about to be written, before it is: its echo may be quicker than the answer."""
    now = timezone.now()
    rows = []
    for write in writes:
        record = records[write.key]
        record.attempted, record.written_at = write.values.as_json(), now
        rows.append(record)
    if rows:
        PushedRecord.objects.bulk_update(rows, ["attempted", "written_at"], batch_size=100)


def _result(write: Write, record_id: int, outcome: Outcome) -> Pushed:
    if outcome.how is How.DONE:
        return Pushed(record_id=record_id, values=write.values.as_json())
    return Pushed(
        error=outcome.reason,
        is_refused=outcome.how is How.REFUSED,
        is_dropped=outcome.how is How.ABSENT,
        is_gone=outcome.how is How.ABSENT,
        retry_after=outcome.retry_after,
        record_id=record_id,
    )


def note(message: OutboundMessage, pushed: Pushed, *, now: datetime) -> None:
    """Remember what the record holds now. In the transaction that settles the message."""
    if pushed.record_id is None:
        return
    rows = PushedRecord.objects.filter(pk=pushed.record_id)
    if pushed.is_gone:
        rows.update(gone_at=now, attempted=None)
    elif not pushed.error:
        rows.update(
            values=pushed.values, attempted=None, version=message.subject_version, held=None, differs=False
        )
