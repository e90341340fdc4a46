"""A code on an order is a redemption: of which offer, by whom, and for which campaign; through every door."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from segmentation import identities, ingest, redemptions
from segmentation.decisions.codes import Verdict
from segmentation.kinds import EventKind
from segmentation.models import (
    Customer,
    Event,
    EventCode,
    EventSource,
    Grant,
    Offer,
    OfferCode,
    Redemption,
)
from segmentation.normal import NO_CODES, NormalCode, NormalEvent
from tests.segmentation.results import world
from tests.segmentation.results.world import SINCE

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _shop():
    world.shop()


@pytest.fixture
def spring():
    made = world.campaign(code="SPRING")
    return made


def tell(
    *codes,
    customer="a",
    key="o1",
    version=0,
    days=5,
    discount="4.00",
    kind=EventKind.ORDER_PLACED,
    order="",
):
    source, _ = EventSource.objects.get_or_create(slug="web")
    event = NormalEvent(
        source_key=key,
        kind=kind,
        occurred_at=SINCE + timedelta(days=days),
        customer=customer,
        source_version=version,
        amount=Decimal("20.00"),
        discount=Decimal(discount),
        codes=tuple(code if isinstance(code, NormalCode) else NormalCode(code) for code in codes),
        order_key=order or key,
    )
    return ingest.record_events(
        [event], source=source, namespace="shop", received_at=datetime(2026, 6, 30, tzinfo=UTC), cause="test"
    )


def owner(reference="a") -> Customer:
    return Customer.objects.get_or_create(reference=reference)[0]


def grant(made, customer, *, code="", days=0) -> Grant:
    offer = made.rules.get().offer
    return Grant.objects.create(
        customer=customer, campaign=made, offer=offer, rule=1, granted_at=SINCE + timedelta(days=days),
        valid_until=SINCE.date(), code=code,
    )  # fmt: skip


def test_a_shared_code_counts_for_the_campaign_that_gave_it_last(spring):
    offer = spring.rules.get().offer
    later = world.campaign(slug="later")
    later.rules.update(offer=offer)
    first = grant(spring, owner(), days=0)
    Grant.objects.filter(pk=first.pk).update(ended_at=SINCE)
    own = grant(later, owner(), days=2)
    grant(spring, owner(), days=9)
    tell("spring")
    row = Redemption.objects.get()
    assert (row.offer, row.customer.reference, row.campaign, row.grant_number) == (offer, "a", later, own.pk)
    assert (row.code, row.discount_minor) == ("spring", 400)
    assert row.redeemed_at == SINCE + timedelta(days=5)


def test_a_decision_gives_an_offer_where_nothing_is_counted(spring):
    world.decided(owner(), world.policy(spring), Verdict.WON, gives=spring)
    tell("SPRING")
    assert Redemption.objects.get().campaign == spring


def test_a_code_nobody_gave_them_is_redeemed_for_no_campaign(spring):
    grant(spring, owner("somebody else"))
    tell("SPRING")
    row = Redemption.objects.get()
    assert (row.campaign, row.grant_number) == (None, None)


def test_what_was_given_after_the_order_does_not_count(spring):
    grant(spring, owner(), days=6)
    tell("SPRING", days=5)
    assert Redemption.objects.get().campaign is None


def test_a_unique_code_counts_for_its_grant_whoever_orders(spring):
    offer = spring.rules.get().offer
    given = grant(spring, owner("first"), code="X-1")
    OfferCode.objects.create(offer=offer, code="X-1", grant_number=given.pk, is_used=True)
    OfferCode.objects.create(offer=offer, code="X-2")
    tell("x-1", customer="friend")
    row = Redemption.objects.get()
    assert (row.customer.reference, row.campaign, row.grant_number) == ("friend", spring, given.pk)


def test_a_code_of_no_offer_is_kept_and_redeems_nothing(spring):
    tell("WELCOME10", "")
    assert list(EventCode.objects.values_list("code", flat=True)) in (["WELCOME10"], ["WELCOME10", ""])
    assert not Redemption.objects.exists()


def test_each_code_of_an_order_took_what_it_took(spring):
    other = Offer.objects.create(slug="five", name="Five", kind="amount", text="x", code="FIVE")
    tell(NormalCode("SPRING", Decimal("3.00")), NormalCode("FIVE", Decimal("1.00")), NormalCode("?"))
    off = dict(Redemption.objects.values_list("offer", "discount_minor"))
    assert off == {spring.rules.get().offer_id: 300, other.pk: 100}


def test_a_change_told_as_a_fact_of_its_own_redeems_no_second_time(spring):
    """`order.updated` of the generic format: another event about the same order, with the codes again."""
    changed = {"kind": EventKind.ORDER_CHANGED, "order": "o1"}
    tell("SPRING", days=5, discount="4.00")
    tell("SPRING", key="change-1", days=7, discount="3.00", **changed)
    row = Redemption.objects.get()
    assert (row.event.source_key, row.discount_minor, row.redeemed_at) == (
        "change-1",
        300,
        SINCE + timedelta(days=5),
    )
    tell("SPRING", key="come late", days=6, discount="2.00", **changed)
    tell("SPRING", key="o2", days=6)
    assert set(Redemption.objects.values_list("event__source_key", flat=True)) == {"change-1", "o2"}


def test_an_order_that_comes_after_its_change_redeems_no_second_time(spring):
    tell("SPRING", key="change-1", days=7, kind=EventKind.ORDER_CHANGED, order="o1")
    tell("SPRING", key="o1", days=5)
    assert Redemption.objects.get().event.source_key == "change-1"


def test_a_newer_version_of_the_order_says_what_counts(spring):
    tell("SPRING", version=1)
    tell("SPRING", version=1)
    assert Redemption.objects.count() == 1
    tell(version=2)
    assert not Redemption.objects.exists()
    tell("SPRING", version=3)
    assert Redemption.objects.get().event.source_version == 3
    tell("SPRING", version=2, key="o1", customer="a")
    assert Redemption.objects.count() == 1


def test_a_later_change_that_says_there_is_no_code_takes_the_redemption_back(spring):
    changed = {"kind": EventKind.ORDER_CHANGED, "order": "o1"}
    tell("SPRING", days=5)
    tell(key="silent", days=6, **changed)
    assert Redemption.objects.get().event.source_key == "o1"
    tell(*NO_CODES, key="none", days=8, **changed)
    assert not Redemption.objects.exists()
    tell("SPRING", key="comes late", days=7, **changed)
    assert not Redemption.objects.exists()
    tell("SPRING", key="used after all", days=9, **changed)
    assert Redemption.objects.get().event.source_key == "used after all"


def test_an_order_that_comes_after_it_was_changed_to_have_no_code_redeems_nothing(spring):
    tell(*NO_CODES, key="none", days=8, kind=EventKind.ORDER_CHANGED, order="o1")
    tell("SPRING", key="o1", days=5)
    assert not Redemption.objects.exists()
    assert world.measured(spring)["redeemed"]["passed_on"] == 0


def test_merged_customers_are_one_person(spring):
    first, second = owner("a"), owner("b")
    grant(spring, second)
    identities.merge(first, second)
    tell("SPRING", customer="a")
    assert Redemption.objects.get().campaign == spring


def test_recording_again_changes_nothing(spring):
    tell("SPRING")
    assert redemptions.record(list(Event.objects.values_list("pk", flat=True))) == 0
    assert Redemption.objects.count() == 1


def test_the_result_counts_what_was_redeemed(spring):
    grant(spring, owner())
    tell("SPRING")
    tell("SPRING", customer="stranger", key="o2")
    told = world.measured(spring)["redeemed"]
    assert told == {"orders": 1, "customers": 1, "discount": 4.0, "revenue": 20.0, "passed_on": 1}


def test_an_order_told_anew_counts_once_and_a_cancelled_one_not(spring):
    grant(spring, owner())
    grant(spring, owner("b"))
    tell("SPRING")
    change(EventKind.ORDER_CHANGED, "SPRING", order="o1", discount="3.00", days=6)
    told = world.measured(spring)["redeemed"]
    assert told == {"orders": 1, "customers": 1, "discount": 3.0, "revenue": 20.0, "passed_on": 0}
    tell("SPRING", customer="b", key="o2")
    change(EventKind.ORDER_CANCELLED, order="o1", days=7)
    assert world.measured(spring)["redeemed"]["orders"] == 1
    change(EventKind.ORDER_CANCELLED, order="o2", customer="b", days=7)
    told = world.measured(spring)["redeemed"]
    assert told == {"orders": 0, "customers": 0, "discount": 0.0, "revenue": 0.0, "passed_on": 0}


def change(kind, *codes, order, **fields):
    """A later event of its own about an order."""
    return tell(*codes, key=f"{order}-{int(kind)}", order=order, kind=kind, **fields)


def test_a_code_that_cannot_be_stored_is_refused():
    report = tell("x" * 65)
    assert (report.created, len(report.rejected)) == (0, 1)
