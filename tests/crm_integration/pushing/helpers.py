from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from crm_integration import outbox
from crm_integration.models import Connection, OutboundMessage, PushedRecord
from segmentation.models import Customer, Membership, Offer, Segment
from tests.crm_integration.fixtures import decided, decision


def person(number, **fields):
    return Customer.objects.get_or_create(reference=f"c-{number}", defaults=fields)[0]


def people(kind, fake, count, **fields):
    """Customers whom the CRM knows under 101, 102, …"""
    made = [person(number, **fields) for number in range(count)]
    for number, one in enumerate(made):
        kind.knows(fake, one, 101 + number)
    return made


def decide(*customers, version=1, **fields):
    """A decision about each, staged and delivered."""
    rows = [decision(one.reference, input_version=version, **fields) for one in customers]
    outbox.stage(decided(*rows))
    outbox.deliver_due()
    return list(OutboundMessage.objects.order_by("-pk")[: len(rows)])[::-1]


def again():
    """Whatever waits is due now, and no connection rests."""
    OutboundMessage.objects.update(run_after=timezone.now() - timedelta(seconds=1))
    Connection.objects.update(rests_until=None)
    outbox.deliver_due()


def member(customer, slug):
    segment = Segment.objects.get_or_create(slug=slug, defaults={"name": slug.title()})[0]
    Membership.objects.get_or_create(customer=customer, segment=segment)


def offer():
    return Offer.objects.create(
        slug="back",
        name="Come back",
        kind=Offer.Kind.PERCENTAGE,
        percentage=15,
        text="15 % off",
        code="BACK15",
    )


def settle():
    """Writes are old enough to be read back."""
    PushedRecord.objects.update(written_at=timezone.now() - timedelta(hours=1))


def states():
    return sorted(OutboundMessage.objects.values_list("customer__reference", "state"))
