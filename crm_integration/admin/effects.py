"""What a received message says and what it caused: read from the rows, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.db.models import Max, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from crm_integration import facts
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter, Parsed, Unreadable
from crm_integration.models import InboundMessage, OutboundMessage
from segmentation import contacts, identities
from segmentation.dashboard import words
from segmentation.models import Customer, Decision, DueCustomer, Event, LeaseState
from segmentation.models.events import KIND_CHOICES

SHOWN = 20
KIND_WORDS = dict(KIND_CHOICES)
Text = str | Promise
Outcome = InboundMessage.Outcome
UNTAKEN = frozenset({Outcome.UNREADABLE, Outcome.UNKNOWN_TOPIC, Outcome.REJECTED, Outcome.JOB_REFUSED})
EXPLAINED: dict[str, Text] = {
    Outcome.UNREADABLE: _(
        "Quarantined: the sender signed it, so it is genuine, but its body is not what this kind of CRM sends. It "
        "changed nothing. It is kept for 30 days; once the cause is removed, “Process again” reads it anew."
    ),
    Outcome.UNKNOWN_TOPIC: _(
        "Nothing reads this topic, so it changed nothing. Unsubscribe from it in the CRM, or leave it: it is only counted."
    ),
    Outcome.REJECTED: _(
        "Every item has a mistake; the reasons stand below. After a fix here, such as a missing exchange rate, "
        "“Process again” takes them in."
    ),
    Outcome.PARTLY: _(
        "Some items have a mistake and were left out; the others are stored. “Process again” repeats nothing that is "
        "known already."
    ),
    Outcome.NOTHING_NEW: _("Everything in it was known already, so nothing changed."),
    Outcome.ERASED: _("It tells only of people who were erased, so nothing was stored."),
    Outcome.JOB_REFUSED: _("It asked for a job that this connection may not start, or that could not start."),
}
FAILED = _(
    "Set aside after its last attempt. It changed nothing and is kept for 30 days; once the cause is removed, "
    "“Process again” tries it anew."
)


@dataclass(frozen=True)
class Fact:
    """One normal event. No contact data: that is part of the body alone."""

    item: int
    what: str
    when: datetime
    who: str
    key: str
    amount: str


@dataclass(frozen=True)
class Person:
    """A customer it was about, and what happened to them since."""

    customer: Customer
    is_waiting: bool
    decision: Decision | None
    is_new_decision: bool
    sent: tuple[OutboundMessage, ...]


class Effects:
    """Read lazily: the page of a message needs all of it, the poll of an open page little."""

    def __init__(self, message: InboundMessage) -> None:
        self.message = message
        self.kind: Adapter | None = registry.ADAPTERS.get(message.connection.adapter)

    @cached_property
    def parsed(self) -> Parsed | None:
        """What the body says, read again: pure. None where it cannot be read or is no longer kept."""
        if self.message.body is None or self.kind is None:
            return None
        try:
            return self.kind.parse(
                bytes(self.message.body), message_key=self.message.dedupe_key, topic=self.message.topic
            )
        except Unreadable:
            return None

    @property
    def explanation(self) -> Text:
        if said := EXPLAINED.get(self.message.outcome):
            return said
        return FAILED if self.message.state == LeaseState.FAILED else ""

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        if self.parsed is None:
            return ()
        pairs = zip(self.parsed.event_items, self.parsed.events, strict=True)
        return tuple(
            Fact(
                item=item,
                what=str(KIND_WORDS.get(event.kind, event.kind)),
                when=event.occurred_at,
                who=event.customer or (_t("a guest") if event.email else words.NOTHING),
                key=event.source_key,
                amount=f"{event.amount} {event.currency}".strip()
                if event.amount is not None
                else words.NOTHING,
            )
            for item, event in list(pairs)[:SHOWN]
        )

    @cached_property
    def says_more(self) -> int:
        """Events that are not listed."""
        return max(0, len(self.parsed.events) - SHOWN) if self.parsed else 0

    @cached_property
    def customers(self) -> list[Customer]:
        """Whom it was about, as they stand now (survivors), the first few."""
        found = set(self.message.detail.get("customer_ids") or ())
        if self.parsed is not None and self.kind is not None:
            namespace = facts.namespace_of(self.message.connection, self.kind)
            found |= set(identities.find_many(namespace, _references(self.parsed)[:SHOWN]).values())
            emails = [event.email for event in self.parsed.events if event.email and not event.customer]
            found |= set(contacts.find_many_by_email(emails[:SHOWN]).values()) if emails else set()
        survivors = set(identities.survivor_ids(found).values())
        return list(Customer.objects.filter(pk__in=survivors).order_by("pk")[:SHOWN])

    @cached_property
    def waiting(self) -> dict[int, DueCustomer]:
        ids = [customer.pk for customer in self.customers]
        rows = DueCustomer.objects.filter(customer__in=ids).exclude(state=LeaseState.DONE)
        return {row.customer_id: row for row in rows}

    @cached_property
    def decisions(self) -> dict[int, Decision]:
        """The newest decision of each customer."""
        ids = [customer.pk for customer in self.customers]
        newest = (
            Decision.objects.filter(customer__in=ids).order_by().values("customer").annotate(top=Max("pk"))
        )
        rows = Decision.objects.filter(pk__in=newest.values("top")).select_related("offer")
        return {row.customer_id: row for row in rows}

    @cached_property
    def sent(self) -> dict[int, list[OutboundMessage]]:
        """Messages about them since, by customer, the newest first."""
        found: dict[int, list[OutboundMessage]] = {}
        for row in self._sent()[: SHOWN * 3]:
            if row.customer_id is not None:
                found.setdefault(row.customer_id, []).append(row)
        return found

    def _sent(self) -> QuerySet[OutboundMessage]:
        ids = [customer.pk for customer in self.customers] if self.was_taken else []
        rows = OutboundMessage.objects.filter(customer__in=ids, created_at__gte=self.message.received_at)
        return rows.select_related("connection").defer("body").order_by("-pk")

    @cached_property
    def people(self) -> tuple[Person, ...]:
        return tuple(
            Person(
                customer,
                is_waiting=customer.pk in self.waiting,
                decision=self.decisions.get(customer.pk),
                is_new_decision=self.is_new(self.decisions.get(customer.pk)),
                sent=tuple(self.sent.get(customer.pk, ())),
            )
            for customer in self.customers
        )

    def is_new(self, decision: Decision | None) -> bool:
        """A message that was not taken caused nothing, whatever was decided since."""
        if decision is None or not self.was_taken:
            return False
        return decision.decided_at >= self.message.received_at

    @property
    def was_taken(self) -> bool:
        return self.message.outcome not in UNTAKEN

    @cached_property
    def stored(self) -> list[Event]:
        """The rows that its events became, or had become before."""
        if not self.facts or self.parsed is None:
            return []
        keys = sorted({fact.key for fact in self.facts})
        mine = Q(source__slug=self.message.connection.slug, source_key__in=keys)
        return list(Event.objects.filter(mine).select_related("customer").order_by("pk")[: SHOWN * 2])


def _references(parsed: Parsed) -> list[str]:
    told: Iterable[str | None] = [
        *(customer.reference for customer in parsed.customers),
        *(event.customer for event in parsed.events),
    ]
    return list(dict.fromkeys(reference for reference in told if reference))
