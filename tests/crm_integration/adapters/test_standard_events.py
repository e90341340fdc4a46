"""What the generic webhook says, topic by topic, without a database."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from crm_integration.adapters.base import Merged, PrivacyKind, PrivacyRequest, Unreadable
from crm_integration.adapters.standard import MAX_BATCH, StandardAdapter
from segmentation.kinds import EventKind
from segmentation.normal import NO_CODES, NormalCode, NormalConsent, NormalItem

AT = "2026-11-01T10:00:00Z"
MOMENT = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)


def parse(topic, data, **envelope):
    body = {"type": topic, "timestamp": AT, "data": data, **envelope}
    return StandardAdapter().parse(json.dumps(body).encode(), message_key="msg_1")


def event(topic, data, **envelope):
    parsed = parse(topic, data, **envelope)
    assert not parsed.rejections, parsed.rejections
    (found,) = parsed.events
    return found


def rejection(topic, data, **envelope):
    parsed = parse(topic, data, **envelope)
    assert not parsed.events
    (found,) = parsed.rejections
    return found.reason


@pytest.mark.parametrize(
    ("told", "codes"),
    [
        (["SPRING"], (NormalCode("SPRING"),)),
        (
            [{"code": "SPRING", "amount": "5.00"}, {"code": "X"}],
            (NormalCode("SPRING", Decimal("5.00")), NormalCode("X")),
        ),
        ([], ()),
        (None, ()),
    ],
)
def test_an_order_names_the_codes_it_used(told, codes):
    data = {"order_id": "A-1", "customer": "c-9", "amount": "9.90", "discount_codes": told}
    assert event("order.placed", data).codes == codes


@pytest.mark.parametrize(
    "told", ["SPRING", [5], [{"code": "x" * 65}], [{"code": "x", "amount": "-1"}], ["x"] * 21]
)
def test_codes_that_are_none_are_refused(told):
    data = {"order_id": "A-1", "customer": "c-9", "amount": "9.90", "discount_codes": told}
    assert "discount_codes" in rejection("order.placed", data)


@pytest.mark.parametrize(
    ("kind", "told", "codes"),
    [
        ("order.updated", {"discount_codes": []}, NO_CODES),
        ("order.updated", {"discount_codes": None}, ()),
        ("order.updated", {}, ()),
        ("order.placed", {"discount_codes": []}, ()),
    ],
)
def test_a_change_may_say_that_there_is_no_code_any_more(kind, told, codes):
    """Nothing said takes nothing back, and an order without codes has none to take back."""
    data = {"order_id": "A-1", "customer": "c-9", "amount": "9.90", **told}
    assert event(kind, data).codes == codes


def test_a_placed_order_carries_its_lines_and_money():
    found = event(
        "order.placed",
        {
            "order_id": "A-1",
            "customer": "c-9",
            "amount": "49.90",
            "discount": 5,
            "currency": "eur",
            "channel": "app",
            "version": 3,
            "items": [
                {"product_id": 7, "name": "Tea", "category": "Food", "quantity": 2, "amount": 19.95},
                {"product_id": "m-1"},
            ],
        },
    )
    assert (found.kind, found.source_key, found.order_key, found.source_version) == (
        EventKind.ORDER_PLACED,
        "A-1",
        "A-1",
        3,
    )
    assert (found.amount, found.discount, found.currency) == (Decimal("49.90"), Decimal(5), "EUR")
    assert (found.customer, found.channel, found.occurred_at) == ("c-9", "app", MOMENT)
    assert found.items == (NormalItem("7", "Tea", "Food", 2, Decimal("19.95")), NormalItem("m-1"))


def test_the_time_of_the_fact_is_its_own_where_it_is_told():
    found = event(
        "order.placed",
        {"order_id": "1", "customer": "c", "amount": 1, "occurred_at": "2026-10-31T23:00:00+02:00"},
    )
    assert found.occurred_at == datetime(2026, 10, 31, 21, 0, tzinfo=UTC)


def test_a_changed_order_is_a_new_fact_about_the_same_order():
    first = event("order.updated", {"order_id": "A-1", "customer": "c", "amount": 10}, id="change-1")
    second = event("order.updated", {"order_id": "A-1", "customer": "c", "amount": 12}, id="change-2")
    assert first.kind == EventKind.ORDER_CHANGED
    assert first.order_key == second.order_key == "A-1"
    assert first.source_key != second.source_key


def test_a_cancellation_names_its_order_and_needs_no_amount():
    found = event("order.cancelled", {"order_id": "A-1", "customer": "c"})
    assert (found.kind, found.order_key, found.amount) == (EventKind.ORDER_CANCELLED, "A-1", None)


def test_two_refunds_of_one_order_are_two_facts():
    keys = {
        event("order.refunded", {"order_id": "A", "refund_id": n, "customer": "c", "amount": 1}).source_key
        for n in (1, 2)
    }
    assert keys == {"1", "2"}


def test_a_guest_order_has_an_email_and_no_customer():
    found = event("order.placed", {"order_id": "1", "email": "guest@example.com", "amount": 1})
    assert (found.customer, found.email) == (None, "guest@example.com")


def test_a_customer_object_in_an_order_is_both_owner_and_record():
    parsed = parse(
        "order.placed",
        {
            "order_id": "1",
            "amount": 1,
            "customer": {"reference": "c-1", "email": "a@example.com", "country": "FR"},
        },
    )
    assert (parsed.events[0].customer, parsed.events[0].email) == ("c-1", "a@example.com")
    assert (parsed.customers[0].reference, parsed.customers[0].country) == ("c-1", "FR")


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("product.viewed", EventKind.VIEWED),
        ("product.favourited", EventKind.FAVOURITED),
        ("cart.item_added", EventKind.CART_ADDED),
        ("cart.item_removed", EventKind.CART_REMOVED),
        ("search.performed", EventKind.SEARCHED),
    ],
)
def test_behaviour_is_who_when_and_which_product(topic, kind):
    found = event(topic, {"customer": "c", "product": {"product_id": "p", "category": "Tea"}})
    assert (found.kind, found.source_key, found.items) == (kind, "msg_1", (NormalItem("p", category="Tea"),))
    assert event(topic, {"customer": "c", "product": "p"}).items == (NormalItem("p"),)


def test_a_review_has_a_rating_and_words():
    found = event(
        "review.created",
        {"customer": "c", "review_id": "r-1", "rating": 4, "text": "Good\x00!", "product": "p"},
    )
    assert (found.kind, found.source_key, found.rating, found.text) == (
        EventKind.REVIEWED,
        "r-1",
        4.0,
        "Good!",
    )


def test_tickets_and_complaints_keep_their_words():
    assert event("ticket.opened", {"customer": "c", "ticket_id": 5, "text": "Help"}).text == "Help"
    assert event("ticket.closed", {"customer": "c", "ticket_id": 5}).kind == EventKind.TICKET_CLOSED
    assert event("complaint.received", {"customer": "c", "text": "No"}).kind == EventKind.COMPLAINED


def test_a_new_customer_is_a_record_and_a_sign_up():
    parsed = parse(
        "customer.created",
        {
            "reference": "c-1",
            "email": "a@example.com",
            "first_name": "Ada",
            "birthday": "1990-04-01",
            "signed_up_at": AT,
            "attributes": {"tier_wish": "gold", "points": 3, "vip": True},
        },
    )
    (customer,) = parsed.customers
    assert (customer.email, customer.first_name, customer.birthday, customer.signed_up_at) == (
        "a@example.com",
        "Ada",
        date(1990, 4, 1),
        MOMENT,
    )
    assert customer.attributes == {"tier_wish": "gold", "points": 3, "vip": True}
    (signed_up,) = parsed.events
    assert (signed_up.kind, signed_up.source_key, signed_up.occurred_at) == (
        EventKind.SIGNED_UP,
        "c-1",
        MOMENT,
    )


def test_consent_is_told_alone_or_with_the_customer():
    alone = parse("consent.changed", {"customer": "c", "purpose": "marketing", "status": "denied"})
    within = parse(
        "customer.updated",
        {"reference": "c", "consents": [{"purpose": "marketing", "status": "denied", "decided_at": AT}]},
    )
    assert (
        alone.customers[0].consents
        == within.customers[0].consents
        == (NormalConsent("marketing", "denied", MOMENT),)
    )


def test_a_batch_is_read_entry_by_entry():
    entries = [
        {"type": "product.viewed", "timestamp": AT, "data": {"customer": "a", "product": "p"}},
        {"type": "order.placed", "timestamp": AT, "data": {"customer": "a"}},
        {"type": "made.up", "timestamp": AT, "data": {}},
        {"type": "product.viewed", "timestamp": AT, "data": {"customer": "b", "product": "p"}, "id": "own"},
    ]
    parsed = parse("events.batch", {"events": entries})
    assert [found.source_key for found in parsed.events] == ["msg_1:0", "own"]
    assert parsed.event_items == (0, 3)
    assert [found.item for found in parsed.rejections] == [1, 2]


def test_a_batch_has_at_most_a_thousand_entries():
    entry = {"type": "product.viewed", "timestamp": AT, "data": {"customer": "a"}}
    assert len(parse("events.batch", {"events": [entry] * MAX_BATCH}).events) == MAX_BATCH
    with pytest.raises(Unreadable, match="1001 entries"):
        parse("events.batch", {"events": [entry] * (MAX_BATCH + 1)})


@pytest.mark.parametrize("data", [{}, {"events": []}, {"events": "x"}, {"events": [1]}, None, []])
def test_a_batch_without_entries_cannot_be_read(data):
    with pytest.raises(Unreadable):
        parse("events.batch", data)


def test_an_unknown_topic_is_named_and_a_ping_is_a_test():
    unknown = parse("loyalty.redeemed", {"anything": 1})
    assert (unknown.topic, unknown.is_known) == ("loyalty.redeemed", False)
    assert parse("ping", None).is_test


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"order_id": None}, "data.order_id is missing"),
        ({"amount": None}, "data.amount is missing"),
        ({"amount": "a lot"}, "data.amount must be an amount"),
        ({"amount": "1e5"}, "data.amount must be an amount"),
        ({"amount": True}, "data.amount must be an amount"),
        ({"amount": 1e22}, "data.amount must be an amount"),
        ({"amount": -1}, "data.amount must not be negative"),
        ({"customer": None}, "data.customer is missing"),
        ({"customer": ["c"]}, "data.customer must be text"),
        ({"customer": {}}, "data.customer.reference is missing"),
        ({"customer": "c" * 129}, "data.customer is 129 characters long"),
        ({"customer": "c\x00"}, "data.customer contains a NUL"),
        ({"order_id": {"a": 1}}, "data.order_id must be text"),
        ({"occurred_at": "yesterday"}, "data.occurred_at must be a time"),
        ({"occurred_at": "2026-11-01T10:00:00"}, "data.occurred_at must be a time with its zone"),
        ({"occurred_at": 1700000000}, "data.occurred_at must be a time"),
        ({"items": "x"}, "data.items must be a list"),
        ({"items": [{"name": "no id"}]}, r"data.items\[0\].product_id is missing"),
        (
            {"items": [{"product_id": "p", "quantity": 1.5}]},
            r"data.items\[0\].quantity must be a whole number",
        ),
        ({"version": -1}, "data.version must be a whole number"),
        ({"currency": "POUNDS"}, "data.currency is 6 characters"),
    ],
)
def test_a_bad_field_is_named_without_repeating_its_value(change, says):
    good = {"order_id": "1", "customer": "c", "amount": 1}
    reason = rejection("order.placed", {**good, **change})
    assert __import__("re").search(says, reason), reason
    assert "yesterday" not in reason
    assert "a lot" not in reason


@pytest.mark.parametrize("timestamp", [None, "", "now", 1700000000, "2026-02-30T00:00:00Z"])
def test_an_event_needs_a_real_time(timestamp):
    assert "timestamp" in rejection("product.viewed", {"customer": "c"}, timestamp=timestamp)


def test_the_noise_of_added_floats_is_not_a_mistake():
    assert event("order.placed", {"order_id": "1", "customer": "c", "amount": 0.1 + 0.2}).amount == Decimal(
        "0.300000"
    )


@pytest.mark.parametrize("data", [{"rating": None}, {"rating": "five"}, {"rating": True}])
def test_a_review_needs_a_number_as_rating(data):
    assert "data.rating" in rejection("review.created", {"customer": "c", **data})


@pytest.mark.parametrize(
    "consent",
    [
        {"purpose": "spam", "status": "granted"},
        {"purpose": "marketing", "status": "maybe"},
        {"purpose": "marketing"},
    ],
)
def test_consent_knows_two_purposes_and_two_answers(consent):
    assert "data." in rejection("consent.changed", {"customer": "c", **consent})


@pytest.mark.parametrize(
    "attributes", [{"a": [1]}, {"a": {}}, {"x" * 65: 1}, {f"a{n}": 1 for n in range(101)}, [1]]
)
def test_attributes_are_plain_values(attributes):
    parsed = parse("customer.updated", {"reference": "c", "attributes": attributes})
    assert not parsed.customers
    assert len(parsed.rejections) == 1


def test_a_merge_and_a_deletion_are_told_with_their_items():
    told = [
        {"type": "customer.deleted", "timestamp": AT, "data": {"reference": "C-1"}},
        {"type": "customer.merged", "timestamp": AT, "data": {"kept": "C-2", "gone": ["C-3", 4]}},
    ]
    parsed = parse("events.batch", {"events": told})
    assert (parsed.privacy, parsed.privacy_items) == ((PrivacyRequest(PrivacyKind.DELETED, "C-1"),), (0,))
    assert (parsed.merged, parsed.merged_items) == ((Merged("C-2", ("C-3", "4")),), (1,))


@pytest.mark.parametrize(
    "data", [{}, {"kept": "C-1"}, {"kept": "C-1", "gone": []}, {"kept": "C-1", "gone": "C-2"},
             {"kept": "C-1", "gone": [None]}, {"kept": "C-1", "gone": [["C-2"]]}, {"gone": ["C-2"]},
             {"kept": "C-1", "gone": [str(number) for number in range(51)]}],
    ids=str,
)  # fmt: skip
def test_a_merge_needs_to_say_who(data):
    assert rejection("customer.merged", data)
