"""What each vendor's payload becomes. Literal payloads lie under tests/payloads/."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from crm_integration.adapters import registry
from crm_integration.adapters.base import PrivacyKind, PrivacyRequest, Unreadable
from segmentation.kinds import EventKind
from segmentation.normal import NormalCode, NormalConsent
from tests.crm_integration.adapters.signing import content, payload


def parse(name, topic="", **changes):
    kind = name.partition("/")[0]
    body = json.dumps({**content(name), **changes}).encode() if changes else payload(name)
    return registry.get(kind).parse(body, message_key="key", topic=topic)


def only(found):
    (one,) = found
    return one


def kinds(parsed):
    return [event.kind for event in parsed.events]


def at(*parts):
    return datetime(*parts, tzinfo=UTC)


# --- Shopify
def shopify(name, topic="orders/updated", **changes):
    return parse(f"shopify/{name}", topic, **changes)


def test_a_shopify_order_counts_its_goods_after_discounts_and_without_shipping():
    event = only(shopify("orders_paid").events)
    assert (event.kind, event.source_key, event.order_key) == (
        EventKind.ORDER_PLACED,
        "820982911946154500",
        "820982911946154500",
    )
    assert (event.amount, event.discount, event.currency) == (Decimal("59.90"), Decimal("5.00"), "GBP")
    assert (event.customer, event.email, event.occurred_at) == (
        "207119551",
        "ada@example.com",
        at(2026, 11, 1, 10),
    )
    assert [(item.product_id, item.quantity, item.amount) for item in event.items] == [
        ("632910392", 2, Decimal("19.90")),
        ("Gift wrapping by hand", 1, Decimal("40.00")),
    ]
    assert sum(item.amount for item in event.items) == event.amount


def test_a_shopify_order_names_the_codes_it_used():
    assert only(shopify("orders_paid").events).codes == (NormalCode("BACK5", Decimal("5.00")),)
    codes = [
        {"code": "SPRING", "amount": "3.00", "type": "percentage"},
        {"code": "spring", "amount": "1.00"},
        {"code": "FREESHIP", "amount": "4.95", "type": "shipping"},
        {"code": ""},
    ]
    used = only(shopify("orders_paid", discount_codes=codes).events).codes
    assert used == (NormalCode("spring", Decimal("1.00")), NormalCode("FREESHIP", Decimal(0)))


def test_a_woocommerce_order_names_its_coupons():
    coupons = [
        {"id": 1, "code": "spring", "discount": "3.50", "discount_tax": "0.70"},
        {"id": 2, "code": "x"},
    ]
    event = parse("woocommerce/order_processing", "order.updated", coupon_lines=coupons).events[0]
    assert event.codes == (NormalCode("spring", Decimal("3.50")), NormalCode("x", None))


def test_a_shopify_order_brings_its_customer_along():
    person = only(shopify("orders_paid").customers)
    assert (person.reference, person.first_name, person.country, person.language) == (
        "207119551",
        "Ada",
        "GB",
        "en-GB",
    )
    assert person.consents == (NormalConsent("marketing", "granted", person.consents[0].decided_at),)
    assert person.consents[0].decided_at == at(2026, 3, 1, 14, 1)


@pytest.mark.parametrize("name", ["orders_pending", "orders_test"])
def test_unpaid_and_test_orders_of_shopify_are_no_orders(name):
    assert not shopify(name).events
    assert shopify(name).is_known


@pytest.mark.parametrize("status", ["authorized", "partially_paid", "voided", "expired", None])
def test_money_that_has_not_arrived_is_no_order(status):
    assert not shopify("orders_paid", financial_status=status).events


def test_a_later_state_of_a_shopify_order_has_a_higher_version():
    first, later = (only(shopify(name).events[:1]) for name in ("orders_paid", "orders_refunded"))
    assert first.source_key == later.source_key
    assert later.source_version > first.source_version > 10**12


def test_a_guest_of_shopify_is_known_by_e_mail():
    event = only(shopify("orders_guest").events)
    assert (event.customer, event.email) == (None, "guest@example.com")


def test_a_cancelled_shopify_order_is_placed_and_cancelled_and_not_refunded_on_top():
    parsed = shopify("orders_cancelled")
    assert kinds(parsed) == [EventKind.ORDER_PLACED, EventKind.ORDER_CANCELLED]
    assert parsed.events[1].occurred_at == at(2026, 11, 2, 14)


def test_a_shopify_refund_is_its_goods_and_shipping_alone_is_none():
    parsed = shopify("orders_refunded")
    assert kinds(parsed) == [EventKind.ORDER_PLACED, EventKind.REFUNDED]
    assert parsed.events[0].amount == Decimal("59.90")
    refund = parsed.events[1]
    assert (refund.source_key, refund.amount, refund.order_key) == (
        "509562969",
        Decimal("9.95"),
        "820982911946154500",
    )


def test_a_refund_notice_of_shopify_names_the_order_to_fetch():
    thin = only(shopify("refunds_create", "refunds/create").thin)
    assert (thin.kind, thin.key) == ("order", "820982911946154500")


def test_a_shopify_customer_is_a_record_and_a_sign_up():
    parsed = shopify("customers_update", "customers/update")
    assert only(parsed.events).kind == EventKind.SIGNED_UP
    assert only(parsed.customers).signed_up_at == at(2026, 3, 1, 14)
    refused = only(shopify("customers_unsubscribed", "customers/update").customers)
    assert only(refused.consents).status == "denied"


def test_an_older_field_of_shopify_still_tells_consent():
    parsed = shopify(
        "customers_update", "customers/update", email_marketing_consent=None, accepts_marketing=False
    )
    assert only(only(parsed.customers).consents).status == "denied"


@pytest.mark.parametrize(
    ("name", "topic", "asked"),
    [
        ("customers_delete", "customers/delete", PrivacyRequest(PrivacyKind.DELETED, "207119551")),
        (
            "customers_redact",
            "customers/redact",
            PrivacyRequest(PrivacyKind.ERASE, "207119551", "ada@example.com"),
        ),
        (
            "customers_data_request",
            "customers/data_request",
            PrivacyRequest(PrivacyKind.EXPORT, "", "ada@example.com"),
        ),
        ("shop_redact", "shop/redact", PrivacyRequest(PrivacyKind.ERASE_SHOP)),
    ],
)
def test_the_privacy_topics_of_shopify_are_requests(name, topic, asked):
    assert shopify(name, topic).privacy == (asked,)


@pytest.mark.parametrize("topic", ["customers/redact", "customers/data_request", "shop/redact"])
def test_a_privacy_topic_over_another_body_asks_for_nothing(topic):
    for name in ("orders_paid", "customers_update", "customers_redact"):
        if (name, topic) in {
            ("customers_redact", "customers/redact"),
            ("customers_redact", "customers/data_request"),
        }:
            continue
        parsed = shopify(name, topic)
        assert not parsed.privacy
        assert len(parsed.rejections) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": None}, "id is missing"),
        ({"subtotal_price": None}, "subtotal_price is missing"),
        ({"subtotal_price": "-1.00"}, "subtotal_price must not be negative"),
        ({"subtotal_price": "much"}, "subtotal_price must be an amount"),
        ({"processed_at": None, "created_at": None}, "created_at is missing"),
        (
            {"created_at": "2026-11-01T10:00:00", "processed_at": None},
            "created_at must be a time with its zone",
        ),
        ({"line_items": "none"}, "line_items must be a list"),
        ({"line_items": [{"price": "1", "quantity": -1}]}, "quantity must be a whole number"),
        ({"currency": "POUND"}, "currency is 5 characters"),
    ],
)
def test_what_is_wrong_with_a_shopify_order_is_named(change, says):
    parsed = shopify("orders_paid", **change)
    assert says in only(parsed.rejections).reason
    assert not parsed.events


# --- WooCommerce
def woo(name, topic="order.updated", **changes):
    return parse(f"woocommerce/{name}", topic, **changes)


def test_a_woocommerce_order_counts_goods_with_their_tax_where_prices_hold_it():
    event = only(woo("order_processing").events)
    assert (event.amount, event.discount) == (Decimal("59.90"), Decimal("5.00"))
    assert (event.customer, event.occurred_at, event.currency) == ("25", at(2026, 11, 1, 10), "GBP")
    assert [item.amount for item in event.items] == [Decimal("19.90"), Decimal("40.00")]
    assert only(woo("order_net_prices").events).amount == Decimal("49.91")


@pytest.mark.parametrize("status", ["pending", "on-hold", "failed", "checkout-draft", "trash"])
def test_an_unpaid_woocommerce_order_is_none(status):
    assert not woo("order_pending", status=status).events


def test_only_the_gmt_dates_of_woocommerce_are_read():
    event = only(woo("order_processing", date_created="1999-01-01T00:00:00").events)
    assert event.occurred_at == at(2026, 11, 1, 10)
    assert event.source_version == int(at(2026, 11, 1, 10, 0, 8).timestamp() * 1000)


def test_a_guest_of_woocommerce_is_known_by_e_mail():
    parsed = woo("order_guest")
    assert (only(parsed.events).customer, only(parsed.events).email) == (None, "ada@example.com")
    assert not parsed.customers


def test_refunds_of_woocommerce_are_never_more_than_the_goods():
    parsed = woo("order_refunded")
    assert kinds(parsed) == [EventKind.ORDER_PLACED, EventKind.REFUNDED, EventKind.REFUNDED]
    assert [event.amount for event in parsed.events[1:]] == [Decimal("19.90"), Decimal("40.00")]


def test_a_paid_order_that_is_cancelled_ends():
    assert kinds(woo("order_cancelled")) == [EventKind.ORDER_PLACED, EventKind.ORDER_CANCELLED]
    assert not woo("order_cancelled", date_paid_gmt=None).events


def test_a_woocommerce_customer_takes_from_the_bill_what_the_account_lacks():
    parsed = woo("customer_created", "customer.created")
    person = only(parsed.customers)
    assert (person.last_name, person.country, person.phone) == ("Byron", "GB", "01632 960000")
    assert only(parsed.events).occurred_at == at(2026, 3, 1, 9)


def test_a_message_that_only_names_a_record_asks_for_it():
    assert only(woo("customer_deleted", "order.restored").thin).kind == "orders"
    assert only(woo("customer_deleted", "customer.updated").thin).kind == "customers"


def test_deletions_of_woocommerce():
    assert only(woo("customer_deleted", "customer.deleted").privacy) == PrivacyRequest(
        PrivacyKind.DELETED, "25"
    )
    gone = woo("customer_deleted", "order.deleted")
    assert gone.is_known
    assert (gone.events, gone.privacy, gone.thin) == ((), (), ())
    assert not woo("customer_deleted", "product.updated").is_known


# --- HubSpot
def test_hubspot_names_each_record_once():
    parsed = parse_list("hubspot/contacts_changed")
    assert [(thin.kind, thin.key, thin.item) for thin in parsed.thin] == [
        ("contacts", "1246965", 0),
        ("contacts", "1246966", 2),
    ]
    assert parsed.topic == "contact.creation +1"


def parse_list(name):
    return registry.get(name.partition("/")[0]).parse(payload(name), message_key="key")


def test_hubspot_deletions_are_told_apart():
    assert {request.kind for request in parse_list("hubspot/privacy_deletion").privacy} == {
        PrivacyKind.ERASE,
        PrivacyKind.DELETED,
    }
    assert not parse_list("hubspot/company_changed").is_known


def test_an_event_that_a_hubspot_message_holds_twice_is_one():
    twice = content("hubspot/contacts_changed")[:1] * 2
    parsed = registry.get("hubspot").parse(json.dumps(twice).encode(), message_key="key")
    assert len(parsed.thin) == 1


# --- Stripe
def test_one_purchase_of_stripe_is_one_fact_however_often_it_is_told():
    told = [
        only(parse(f"stripe/{name}").events)
        for name in (
            "charge_succeeded",
            "payment_intent_succeeded",
            "invoice_paid",
            "checkout_session_completed",
        )
    ]
    assert {(event.source_key, event.kind) for event in told} == {("pi_1", EventKind.ORDER_PLACED)}
    assert [event.source_version for event in told] == [1, 2, 3, 4]
    assert [event.amount for event in told] == [
        Decimal("68.85"),
        Decimal("59.90"),
        Decimal("59.90"),
        Decimal("59.90"),
    ]
    assert told[3].discount == Decimal("5.00")
    assert only(told[2].items).product_id == "prod_7"


def test_stripe_amounts_follow_the_currency():
    assert only(parse("stripe/yen").events).amount == Decimal(1200)
    for currency, amount in (("kwd", "6.885"), ("isk", "68.85"), ("ugx", "68.85"), ("usd", "68.85")):
        body = content("stripe/charge_succeeded")
        body["data"]["object"]["currency"] = currency
        parsed = registry.get("stripe").parse(json.dumps(body).encode(), message_key="k")
        assert only(parsed.events).amount == Decimal(amount)


def test_stripe_guests_failures_and_test_mode():
    guest = only(parse("stripe/charge_guest").events)
    assert (guest.customer, guest.email, guest.source_key) == (None, "ada@example.com", "ch_g")
    assert not parse("stripe/charge_failed").events
    assert parse("stripe/charge_test_mode").is_test
    assert not parse("stripe/payout_paid").is_known


def test_a_larger_stripe_refund_replaces_the_smaller_one():
    first, more = (
        only(parse(f"stripe/{name}").events) for name in ("charge_refunded", "charge_refunded_more")
    )
    assert first.source_key == more.source_key
    assert more.source_version > first.source_version
    assert (first.amount, more.amount, first.order_key) == (Decimal("19.90"), Decimal("68.85"), "pi_1")


def test_stripe_customers_come_consent_to_promotions_and_go():
    person = only(parse("stripe/customer_created").customers)
    assert (person.first_name, person.last_name, person.language) == ("Ada King", "Byron", "en-GB")
    told = only(parse("stripe/checkout_session_completed").customers)
    assert only(told.consents).status == "granted"
    assert only(parse("stripe/customer_deleted").privacy).reference == "cus_1"


# --- Mautic
def test_a_mautic_contact_is_a_record_with_points():
    parsed = parse("mautic/contact_updated")
    person = only(parsed.customers)
    assert (person.reference, person.email, person.phone, person.attributes) == (
        "47",
        "ada@example.com",
        "+441632960000",
        {"mautic_points": 35},
    )
    assert only(parsed.events).kind == EventKind.SIGNED_UP


def test_a_mautic_message_of_several_events_is_read_one_by_one():
    parsed = parse("mautic/several")
    assert [person.reference for person in parsed.customers] == ["48", "47"]
    assert parsed.customer_items == (0, 1)
    assert parsed.topic == "mautic.email_on_open +2"


def test_mautic_refusals_hits_and_deletions():
    assert only(only(parse("mautic/unsubscribed").customers).consents).status == "denied"
    hit = only(parse("mautic/page_hit").events)
    assert (hit.kind, hit.source_key, hit.customer) == (EventKind.VIEWED, "hit-991", "47")
    assert only(parse("mautic/contact_deleted").privacy) == PrivacyRequest(PrivacyKind.DELETED, "47")
    assert not parse("mautic/company_saved").is_known
    assert len(parse("mautic/test_button").customers) == 1


@pytest.mark.parametrize(("reason", "answers"), [(1, 1), (2, 0), (3, 1)])
def test_a_bounce_is_no_refusal(reason, answers):
    body = content("mautic/contact_updated")
    body["mautic.lead_post_save_update"][0]["contact"]["doNotContact"] = [
        {"id": 1, "reason": reason, "channel": "email", "channelId": None}
    ]
    parsed = registry.get("mautic").parse(json.dumps(body).encode(), message_key="k")
    assert len(only(parsed.customers).consents) == answers


# --- Segment
def test_a_segment_order_counts_revenue_or_works_it_out():
    event = only(parse("segment/order_completed").events)
    assert (event.amount, event.discount, event.source_key, event.customer) == (
        Decimal("59.900000"),
        Decimal(5),
        "A-1001",
        "C-42",
    )
    assert [item.category for item in event.items] == ["Tea", "Kitchen"]
    worked_out = only(parse("segment/order_total_only").events)
    assert (worked_out.amount, worked_out.currency) == (Decimal("59.90"), "GBP")


def test_segment_refunds_cancellations_and_views():
    refund = only(parse("segment/order_refunded").events)
    assert (refund.kind, refund.amount, refund.order_key) == (EventKind.REFUNDED, Decimal(40), "A-1001")
    gone = only(parse("segment/order_cancelled").events)
    assert (gone.kind, gone.source_key, gone.items) == (EventKind.ORDER_CANCELLED, "A-1001", ())
    view = only(parse("segment/product_viewed").events)
    assert (view.kind, view.source_key, only(view.items).product_id) == (EventKind.VIEWED, "ajs-5", "T-7")
    assert only(parse("segment/anonymous_view").events).customer is None


def test_a_segment_batch_is_read_one_by_one():
    parsed = parse("segment/batch")
    assert only(parsed.customers).first_name == "Ada"
    assert only(parsed.events).kind == EventKind.VIEWED
    assert not parse("segment/own_event").is_known


# --- EspoCRM
def test_espocrm_contacts_and_won_opportunities():
    parsed = parse_list("espocrm/contacts")
    person = only(parsed.customers)
    assert (person.reference, only(person.consents).status, person.signed_up_at) == (
        "5f1a",
        "denied",
        at(2026, 3, 1, 9),
    )
    assert "[1].modifiedAt must be a time" in only(parsed.rejections).reason
    order = only(parse_list("espocrm/opportunity").events)
    assert (order.customer, order.amount, order.currency) == ("5f1a", Decimal("1200.500000"), "GBP")


# --- all
@pytest.mark.parametrize("kind", list(registry.ADAPTERS))
@pytest.mark.parametrize("body", [b"", b"[", b"\xff", b"null", b"1", b"[]", b"[1]"])
def test_what_is_no_message_at_all_cannot_be_read(kind, body):
    with pytest.raises(Unreadable):
        registry.get(kind).parse(body, message_key="k", topic="orders/updated")


@pytest.mark.parametrize("kind", list(registry.ADAPTERS))
def test_every_kind_tells_staff_what_to_do(kind):
    adapter = registry.get(kind)
    assert len(adapter.steps) >= 2
    assert all(str(step).strip() for step in adapter.steps)
    assert all(str(need.label).strip() for need in adapter.needs)
