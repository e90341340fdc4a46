"""Columns that only some rules ask for: in the batch, for one customer, in previews and refreshes alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from segmentation import (
    decisions,
    identities,
    ingest,
    memberships,
    previews,
    rule_columns,
    scoring,
    segment_lists,
    segments,
)
from segmentation.kinds import EventKind
from segmentation.models import Customer, Decision, EventSource, Membership, Segment
from segmentation.normal import NormalEvent, NormalItem
from tests.segmentation.decisions.shop import FREQUENT, campaign, offer, segment

TOYS = {
    "event": {"kind": ["order_placed"], "category": ["toys"], "amount": {"op": ">", "value": 20}, "within_days": 30},
    "op": ">=",
    "value": 2,
}  # fmt: skip
LAST_TOYS = {
    "event": {"kind": ["order_placed"], "measure": "last_category"},
    "op": "any_of",
    "value": ["toys"],
}


def order(customer, day, *, amount=25, category="toys"):
    item = NormalItem(product_id=category, category=category, quantity=1, amount=Decimal(amount))
    return NormalEvent(
        source_key=f"{customer}-{day}",
        kind=EventKind.ORDER_PLACED,
        occurred_at=datetime.now(UTC) - timedelta(days=day, hours=1),
        customer=customer,
        amount=Decimal(amount),
        items=(item,),
    )


@pytest.fixture
def toys(shop):
    """c1 bought toys twice, c2 toys and then a book, c3 toys long ago."""
    events = [
        order("c1", 3), order("c1", 9), order("c2", 5), order("c2", 2, category="books"),
        order("c3", 200), order("c3", 201),
    ]  # fmt: skip
    source = EventSource.objects.create(slug="test")
    ingest.record_events(events, source=source, namespace="shop", received_at=datetime.now(UTC), cause="test")
    return shop


def keys(*references):
    return [Customer.objects.get(reference=reference).pk for reference in references]


def score(*references):
    scoring.score_customers(keys(*references), scoring.pin())


def members(slug):
    return set(Membership.objects.filter(segment__slug=slug).values_list("customer__reference", flat=True))


def test_a_batch_and_single_customers_get_the_same_members(toys):
    segment("toy-lovers", TOYS)
    segment("last-toys", LAST_TOYS)
    score("c1", "c2", "c3")
    together = {slug: members(slug) for slug in ("toy-lovers", "last-toys")}
    assert together == {"toy-lovers": {"c1"}, "last-toys": {"c1", "c3"}}
    Membership.objects.all().delete()
    for reference in ("c1", "c2", "c3"):
        score(reference)
    assert {slug: members(slug) for slug in together} == together


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        ({"id": ["books"]}, {"c2"}),
        ({"id": ["books", "toys"]}, {"c1", "c2", "c3"}),
        ({"name": {"op": "contains", "value": "BEAR"}}, {"c1"}),
        ({"category": ["books"]}, {"c2"}),
        ({"category": ["books"], "name": {"op": "contains", "value": "bear"}}, set()),
        ({"price": {"op": ">", "value": 24}}, {"c1", "c2", "c3"}),
        ({"price": {"op": ">", "value": 25}}, set()),
    ],
)
def test_a_rule_asks_for_single_products(toys, product, expected):
    ingest.record_events(
        [
            replace(order("c1", 7), items=(NormalItem("bear", product_name="Teddy bear", quantity=2, amount=Decimal(48)),)),
            replace(order("c2", 8), kind=EventKind.VIEWED, items=(NormalItem("bear"),)),
        ],
        source=EventSource.objects.get(slug="test"), namespace="shop", received_at=datetime.now(UTC), cause="test",
    )  # fmt: skip
    rule = {"event": {"kind": ["order_placed"], "product": product}, "op": ">=", "value": 1}
    made = segment("product", rule)
    score("c1", "c2", "c3")
    assert members("product") == expected
    assert previews.reach(rule).count == len(expected)
    Membership.objects.all().delete()
    memberships.refresh_segment(made.pk)
    assert members("product") == expected


def test_a_preview_and_a_refresh_read_the_same_events(toys):
    score("c1", "c2", "c3")
    assert previews.reach(TOYS).count == 1
    made = segment("toy-lovers", TOYS)
    assert memberships.refresh_segment(made.pk).entered == {"toy-lovers": 1}
    assert members("toy-lovers") == {"c1"}


def test_nothing_is_worked_out_when_no_rule_asks(toys, monkeypatch):
    segment("frequent", FREQUENT)
    monkeypatch.setattr(
        rule_columns, "columns", lambda *args, **kwargs: pytest.fail("no rule asks for events")
    )
    score("c1")
    assert not rule_columns.wanted(toys.today())
    frame = scoring.frame_for(keys("c1"), scoring.pin())
    assert not [name for name in frame.columns if name.startswith(("event.", "random.", "list."))]


def test_a_decision_tells_what_it_saw_of_the_events(toys):
    campaign("toys", (TOYS, offer("a")))
    campaign("last", (LAST_TOYS, offer("b")))
    score("c1", "c2")
    told = {
        reference: decisions.explain(Decision.objects.get(customer__reference=reference)).offers
        for reference in ("c1", "c2")
    }
    assert [one.verdict.name for one in told["c1"]] == ["WON", "OUTRANKED"]
    wants_toys, last_toys = told["c2"]
    assert wants_toys.reasons == (
        "How often “ordered, from toys, over 20.00 GBP, within the last 30 days” is 1 time, needs at least 2 times",
    )
    assert last_toys.reasons == ("Categories of the last “ordered” is books, needs any of toys",)


def test_a_draw_is_the_same_after_ten_scorings_and_another_name_is_another_draw(toys):
    people = Customer.objects.bulk_create(Customer(reference=f"r{n}") for n in range(400))
    ids = [person.pk for person in people]
    segment("half", {"field": "random.bucket", "op": "<", "value": 50})
    segment("other", {"field": "random.other", "op": "<", "value": 50})
    pinned = scoring.pin()
    frames = [memberships.evaluate(scoring.frame_for(ids, pinned)) for _ in range(2)]
    assert frames[0]["segment.half"].equals(frames[1]["segment.half"])
    both = (frames[0]["segment.half"] & frames[0]["segment.other"]).sum()
    assert 160 < frames[0]["segment.half"].sum() < 240
    assert 60 < both < 140
    alone = scoring.frame_for(ids[7:8], pinned)["random.bucket"].item()
    assert alone == frames[0]["random.bucket"][7]


def test_who_was_put_in_or_taken_out_by_hand_stays_so_whatever_the_rule_says(toys):
    made = segment("toy-lovers", TOYS)
    segment_lists.put(made, keys("c3"))
    segment_lists.put(made, keys("c1"), is_member=False)
    score("c1", "c2", "c3")
    assert members("toy-lovers") == {"c3"}
    memberships.refresh_segment(made.pk)
    assert members("toy-lovers") == {"c3"}
    segments.save_rule(Segment.objects.get(), FREQUENT)
    memberships.refresh_segment(made.pk)
    assert members("toy-lovers") == {"c3"}
    segment_lists.forget(made, keys("c1", "c3"))
    segments.save_rule(Segment.objects.get(), TOYS)
    memberships.refresh_segment(made.pk)
    assert members("toy-lovers") == {"c1"}


def test_a_list_is_a_segment_that_others_and_campaigns_build_on(toys):
    made = segment_lists.create("VIPs of the owner", slug="vips")
    report = segment_lists.put_text(made, "c1\nnobody;x\n\ufeffc2, ,\nc1\n")
    assert (report.known, report.unknown) == (2, ("nobody",))
    segment("not-vips", {"none": [{"field": "segment.vips", "op": "in"}]})
    campaign("vips", (made, offer("a")))
    score("c1", "c2", "c3")
    assert (members("vips"), members("not-vips")) == ({"c1", "c2"}, {"c3"})
    explained = decisions.explain(Decision.objects.get(customer__reference="c1"))
    assert explained.offers[0].reasons == ("In segment “VIPs of the owner”", "Added by hand is yes")


def test_an_entry_of_somebody_who_was_merged_counts_for_the_survivor(toys):
    made = segment_lists.create("VIPs", slug="vips")
    segment_lists.put(made, keys("c3"))
    identities.merge(Customer.objects.get(reference="c1"), Customer.objects.get(reference="c3"))
    score("c1")
    assert members("vips") == {"c1"}
