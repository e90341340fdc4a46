"""Thin messages are fetched, and a comparison with the CRM finds what its messages had missed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.utils import timezone

from crm_integration import connections, inbox, reconciling
from crm_integration.adapters import registry
from crm_integration.adapters.shopify import ShopifyAdapter
from crm_integration.models import InboundMessage, Reconciliation
from segmentation import leases
from segmentation.jobs import Job
from segmentation.kinds import EventKind
from segmentation.models import Alert, Consent, Customer, Event, EventSource, PrivacyRequest
from tests.crm_integration import fixtures
from tests.crm_integration.adapters.signing import content, payload
from tests.crm_integration.vendors import espocrm

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 5, 3, tzinfo=UTC)
SINCE = datetime(2026, 11, 1, tzinfo=UTC)
KEYS = {
    "shopify": {"access_token": "shpat_1"},
    "woocommerce": {"consumer_key": "ck_1", "consumer_secret": "cs_1"},
    "hubspot": {"access_token": "pat-1"},
    "stripe": {"secret_key": "rk_live_1"},
    "mautic": {"user": "api", "password": "pass-1"},
    "espocrm": {"api_key": "key-1"},
}
PATHS = {
    "shopify": ("/admin/api/2026-07/customers.json", "/admin/api/2026-07/orders.json"),
    "woocommerce": ("/wp-json/wc/v3/customers", "/wp-json/wc/v3/orders"),
}


def connect(kind, **fields):
    row = fixtures.connection(adapter=kind, **fields)
    connections.save_settings(row, options={}, credentials=KEYS[kind])
    return row


def processed(row, name, *, topic="", key="k"):
    message = inbox.receive(
        row, dedupe_key=key, body=payload(name), received_at=timezone.now(), topic=topic
    ).message_id
    inbox.process(message)
    return InboundMessage.objects.get(pk=message)


def compare(row, *, since=SINCE, now=NOW, period="p"):
    comparison, _new = reconciling.start(row, period=period, now=now, since=since)
    reconciling.work(comparison.pk)
    comparison.refresh_from_db()
    return comparison


# --- thin messages
def test_hubspot_contacts_are_fetched_in_one_request(vendor):
    vendor.answers["/crm/v3/objects/contacts/batch/read"] = [content("hubspot/api_contacts")]
    message = processed(connect("hubspot"), "hubspot/contacts_changed")
    assert (message.outcome, message.events_created) == ("recorded", 1)
    (request,) = vendor.asked
    assert request.content["inputs"] == [{"id": "1246965"}, {"id": "1246966"}]
    assert request.headers["authorization"] == "Bearer pat-1"
    assert Customer.objects.get().country == "United Kingdom"
    assert Consent.objects.get().status == "denied"


def test_a_won_hubspot_deal_is_an_order_of_its_contact(vendor):
    vendor.answers["/crm/v3/objects/deals/batch/read"] = [content("hubspot/api_deals")]
    vendor.answers["/crm/v4/associations/deals/contacts/batch/read"] = [content("hubspot/api_associations")]
    message = processed(connect("hubspot"), "hubspot/deal_won")
    event = Event.objects.get()
    assert (event.kind, event.amount_minor, event.source_key) == (EventKind.ORDER_PLACED, 120050, "9001")
    assert event.customer.reference == "shop-hubspot:1246965"
    assert message.outcome == "partly"
    assert "9003 names no contact" in message.detail["rejections"][0]["reason"]


def test_a_shopify_refund_fetches_its_order(vendor):
    vendor.answers["/admin/api/2026-07/orders/820982911946154500.json"] = [
        {"order": content("shopify/orders_refunded")}
    ]
    processed(connect("shopify"), "shopify/refunds_create", topic="refunds/create")
    assert set(Event.objects.values_list("kind", "amount_minor")) == {
        (EventKind.ORDER_PLACED, 5990),
        (EventKind.REFUNDED, 995),
    }
    assert vendor.asked[0].headers["x-shopify-access-token"] == "shpat_1"


def test_a_woocommerce_message_with_only_an_id_fetches_the_record(vendor):
    vendor.answers["/wp-json/wc/v3/orders/25"] = [content("woocommerce/order_processing")]
    processed(connect("woocommerce"), "woocommerce/customer_deleted", topic="order.restored")
    assert Event.objects.get().amount_minor == 5990
    assert vendor.asked[0].headers["authorization"].startswith("Basic ")


def test_a_record_that_is_gone_is_no_trouble(vendor):
    message = processed(connect("woocommerce"), "woocommerce/customer_deleted", topic="order.restored")
    assert (message.state, message.outcome) == ("done", "nothing_new")


@pytest.mark.parametrize(
    ("status", "state"), [(401, "failed"), (403, "failed"), (500, "queued"), (502, "queued")]
)
def test_refused_credentials_stop_a_message_and_a_broken_crm_delays_it(vendor, status, state):
    vendor.answers["/wp-json/wc/v3/orders/25"] = [(status, {}, {})]
    message = processed(connect("woocommerce"), "woocommerce/customer_deleted", topic="order.restored")
    assert message.state == state
    assert str(status) in message.error
    assert not Event.objects.exists()


def test_a_short_wait_that_the_crm_asks_for_is_sat_out(vendor):
    order = content("woocommerce/order_processing")
    vendor.answers["/wp-json/wc/v3/orders/25"] = [(429, {"Retry-After": "2"}, {}), order]
    processed(connect("woocommerce"), "woocommerce/customer_deleted", topic="order.restored")
    assert vendor.waits == [2.0]
    assert Event.objects.count() == 1


def test_a_long_wait_gives_the_message_back_until_then(vendor):
    vendor.answers["/wp-json/wc/v3/orders/25"] = [(429, {"Retry-After": "900"}, {})]
    before = timezone.now()
    message = processed(connect("woocommerce"), "woocommerce/customer_deleted", topic="order.restored")
    assert (message.state, vendor.waits) == ("queued", [])
    assert message.run_after >= before + timedelta(seconds=890)


@pytest.mark.parametrize("answer", [b"<html>log in</html>", b'{"orders": "none"}', b"[1]", b""])
def test_an_answer_that_is_no_record_is_an_error_and_no_fact(vendor, answer):
    vendor.answers["/wp-json/wc/v3/orders/25"] = [(200, {}, answer)]
    message = processed(connect("woocommerce"), "woocommerce/customer_deleted", topic="order.restored")
    assert message.state in {"queued", "done"}
    assert not Event.objects.exists()


# --- comparisons
def test_a_lost_shopify_message_is_found_and_said(vendor, nudges, django_capture_on_commit_callbacks):
    row = connect("shopify")
    processed(row, "shopify/orders_guest", topic="orders/paid")
    EventSource.objects.update(live_since=SINCE)
    customers, orders = PATHS["shopify"]
    vendor.answers[customers] = [{"customers": []}]
    vendor.answers[orders] = [{"orders": [content("shopify/orders_guest"), content("shopify/orders_paid")]}]
    with django_capture_on_commit_callbacks(execute=True):
        comparison = compare(row)
    assert (comparison.state, comparison.events_missed, comparison.known) == ("done", 1, 1)
    alert = Alert.objects.get(resolved_at=None)
    assert "1 facts about" in alert.message
    assert "/hooks/shop/" in alert.message
    assert (Job.RESCORE_DUE, {}) in nudges
    asked = vendor.asked[-1].query
    assert asked["status"] == "any"
    assert asked["updated_at_min"] == SINCE.isoformat()
    assert asked["updated_at_max"] == (NOW - reconciling.SETTLED).isoformat()


def test_the_alert_ends_when_nothing_is_missing_any_more(vendor):
    row = connect("shopify")
    customers, orders = PATHS["shopify"]
    EventSource.objects.create(slug=row.slug, live_since=SINCE)
    vendor.answers |= {customers: {"customers": []}, orders: {"orders": [content("shopify/orders_paid")]}}
    assert compare(row, period="1").events_missed == 1
    assert compare(row, period="2", now=NOW + timedelta(days=1)).events_missed == 0
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_history_that_is_brought_in_is_no_loss(vendor):
    row = connect("shopify")
    customers, orders = PATHS["shopify"]
    vendor.answers |= {customers: {"customers": []}, orders: {"orders": [content("shopify/orders_paid")]}}
    comparison = compare(row)
    assert (comparison.is_backfill, comparison.events_missed) == (True, 1)
    assert not Alert.objects.exists()


def test_pages_of_shopify_follow_the_link_by_its_name_alone(vendor):
    row = connect("shopify")
    customers, orders = PATHS["shopify"]
    elsewhere = '<https://evil.example.com/admin/api/2026-07/orders.json?page_info=abc&limit=250>; rel="next"'
    first = {"orders": [content("shopify/orders_paid")]}
    vendor.answers[customers] = {"customers": []}
    vendor.answers[orders] = [
        (200, {"Link": elsewhere, "X-Shopify-Shop-Api-Call-Limit": "39/40"}, first),
        {"orders": [content("shopify/orders_guest")]},
    ]
    comparison = compare(row)
    assert (comparison.state, comparison.pages, comparison.events_missed) == ("done", 3, 2)
    assert vendor.asked[-1].query == {"limit": "250", "page_info": "abc"}
    assert vendor.waits == [1]


def test_a_comparison_goes_on_at_its_cursor_after_the_crm_was_away(vendor):
    row = connect("shopify")
    customers, orders = PATHS["shopify"]
    vendor.answers |= {
        customers: {"customers": []},
        orders: [(503, {"Retry-After": "60"}, {}), {"orders": []}],
    }
    comparison = compare(row)
    assert (comparison.state, comparison.pages) == ("queued", 1)
    assert comparison.cursor == {"kind": "orders", "page_info": ""}
    Reconciliation.objects.update(run_after=timezone.now() - timedelta(seconds=1))
    reconciling.work(comparison.pk)
    comparison.refresh_from_db()
    assert comparison.state == "done"
    assert vendor.paths() == [customers, orders, orders]


def test_when_time_is_up_the_rest_is_nudged_again(vendor, nudges, django_capture_on_commit_callbacks):
    row = connect("shopify")
    customers, orders = PATHS["shopify"]
    vendor.answers |= {customers: {"customers": []}, orders: {"orders": []}}
    with django_capture_on_commit_callbacks(execute=True):
        comparison, _new = reconciling.start(row, period="p", now=NOW, since=SINCE)
        reconciling.work(comparison.pk, seconds=0)
    comparison.refresh_from_db()
    assert (comparison.state, comparison.pages) == ("queued", 1)
    assert nudges[-1] == (Job.RECONCILE, {"reconciliation_id": comparison.pk})


def test_a_worker_that_lost_its_claim_stores_no_page(vendor, monkeypatch):
    row = connect("shopify")
    comparison, _new = reconciling.start(row, period="p", now=NOW, since=SINCE)
    vendor.answers[PATHS["shopify"][0]] = {"customers": [content("shopify/customers_update")]}
    pages = ShopifyAdapter.pages

    def slow(self, *args, **kwargs):
        for page in pages(self, *args, **kwargs):
            Reconciliation.objects.update(lease_until=timezone.now() - timedelta(seconds=1), fence=99)
            yield page

    monkeypatch.setattr(ShopifyAdapter, "pages", slow)
    reconciling.work(comparison.pk)
    assert not Customer.objects.exists()
    assert leases.claimable(Reconciliation.objects.all()).exists()


def test_refused_credentials_end_a_comparison_with_an_alert(vendor):
    vendor.answers[PATHS["shopify"][0]] = [(401, {}, {})]
    comparison = compare(connect("shopify"))
    assert comparison.state == "failed"
    alert = Alert.objects.get()
    assert "credentials" in alert.message
    vendor.answers |= dict(zip(PATHS["shopify"], ({"customers": []}, {"orders": []}), strict=True))
    row = comparison.connection
    again, _new = reconciling.start(row, period="later", now=NOW, since=SINCE)
    reconciling.work(again.pk)
    alert.refresh_from_db()
    assert alert.resolved_at is not None


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("kind", [adapter.slug for adapter in registry.KNOWN if adapter.can_reconcile])
def test_a_list_that_is_not_there_ends_a_comparison_with_an_alert(vendor, kind, status):
    vendor.missing = status
    comparison = compare(connect(kind))
    assert (comparison.state, comparison.pages, len(vendor.asked)) == ("failed", 0, 1)
    alert = Alert.objects.get(resolved_at=None)
    assert alert.key == f"comparison-failed-{comparison.connection_id}"
    assert f"no list of records at {vendor.root}{vendor.asked[0].path}." in alert.message
    assert "Check the address" in alert.message
    assert alert.message.endswith(comparison.error)


def test_woocommerce_orders_go_on_from_the_last_change_seen(vendor, monkeypatch):
    from crm_integration.adapters import woocommerce

    monkeypatch.setattr(woocommerce, "PAGE_SIZE", 2)
    row = connect("woocommerce")
    order = content("woocommerce/order_processing")
    three = [
        {**order, "id": number, "date_modified_gmt": f"2026-11-02T10:0{number}:00"} for number in (1, 2, 3)
    ]
    customers, orders = PATHS["woocommerce"]
    vendor.answers |= {customers: [[content("woocommerce/customer_created")]], orders: [three[:2], three[2:]]}
    comparison = compare(row)
    assert (comparison.state, comparison.events_missed) == ("done", 4)
    asked = [request.query for request in vendor.asked if request.path == orders]
    assert [query["modified_after"] for query in asked] == ["2026-10-31T23:59:59", "2026-11-02T10:01:59"]
    assert {query["dates_are_gmt"] for query in asked} == {"true"}


def test_hubspot_is_searched_by_change(vendor):
    row = connect("hubspot")
    vendor.answers |= {
        "/crm/v3/objects/contacts/search": [
            {**content("hubspot/api_contacts"), "paging": {"next": {"after": "100"}}},
            {"results": []},
        ],
        "/crm/v3/objects/deals/search": content("hubspot/api_deals"),
        "/crm/v4/associations/deals/contacts/batch/read": content("hubspot/api_associations"),
    }
    comparison = compare(row)
    assert (comparison.state, comparison.pages, comparison.events_missed, comparison.rejected) == (
        "done",
        3,
        2,
        1,
    )
    assert vendor.asked[1].content["after"] == "100"
    assert vendor.asked[0].content["filterGroups"][0]["filters"][0]["operator"] == "BETWEEN"


def test_stripe_lists_its_events(vendor):
    row = connect("stripe")
    vendor.answers["/v1/events"] = [
        {"data": [content("stripe/charge_succeeded"), content("stripe/charge_test_mode")], "has_more": True},
        {"data": [content("stripe/customer_created")], "has_more": False},
    ]
    comparison = compare(row)
    assert (comparison.state, comparison.pages, comparison.events_missed) == ("done", 2, 2)
    assert vendor.asked[1].query["starting_after"] == "evt_1t"


def test_mautic_contacts_are_read_until_they_are_older_than_asked_for(vendor, monkeypatch):
    from crm_integration.adapters import mautic

    monkeypatch.setattr(mautic, "PAGE_SIZE", 1)
    contact = content("mautic/contact_updated")["mautic.lead_post_save_update"][0]["contact"]
    old = {
        **contact,
        "id": 9,
        "dateModified": "2026-10-01T10:00:00+00:00",
        "dateAdded": "2026-10-01T10:00:00+00:00",
    }
    vendor.answers["/api/contacts"] = lambda request: {
        "total": "2",
        "contacts": {"47": contact}
        if request.query["start"] == "0" and "modified" in request.query["orderBy"]
        else {"9": old},
    }
    comparison = compare(connect("mautic"))
    assert (comparison.state, comparison.pages) == ("done", 3)
    assert [row.reference for row in Customer.objects.all()] == ["shop-mautic:47"]


# --- EspoCRM
def espo_contact(key, *, at="2026-11-02 10:00:00"):
    return {"id": key, "firstName": "Ada", "createdAt": "2026-03-01 09:00:00", "modifiedAt": at}


def espo_holds(vendor, *, contacts=(), opportunities=()):
    vendor.answers |= {
        "/api/v1/Contact": lambda request: espocrm.changed(contacts, request.query),
        "/api/v1/Opportunity": lambda request: espocrm.changed(opportunities, request.query),
    }


@pytest.fixture
def espo_pages_of_two(monkeypatch):
    from crm_integration.adapters import espocrm_pages

    monkeypatch.setattr(espocrm_pages, "PAGE_SIZE", 2)


def known():
    return sorted(row.reference.removeprefix("shop-espocrm:") for row in Customer.objects.all())


def test_a_lost_espocrm_message_is_found_and_said(vendor):
    row = connect("espocrm")
    first, won = espo_contact("5f1a", at="2026-11-01 10:00:00"), content("espocrm/opportunity")[0]
    processed(row, "espocrm/contacts")
    EventSource.objects.update(live_since=SINCE)
    espo_holds(vendor, contacts=[first], opportunities=[won])
    comparison = compare(row)
    assert (comparison.state, comparison.pages, comparison.events_missed, comparison.known) == (
        "done",
        2,
        1,
        1,
    )
    order = Event.objects.get(kind=EventKind.ORDER_PLACED)
    assert (order.amount_minor, order.customer.reference) == (120050, "shop-espocrm:5f1a")
    assert "1 facts about" in Alert.objects.get(resolved_at=None).message
    asked = vendor.asked[-1]
    assert asked.query["where[0][value][]"] == ["2026-11-01 00:00:00", "2026-11-05 02:45:00"]
    assert (asked.headers["x-api-key"], asked.headers["x-no-total"]) == ("key-1", "true")


def test_espocrm_goes_on_from_the_last_change_seen(vendor, espo_pages_of_two):
    contacts = [espo_contact(f"c{number}", at=f"2026-11-02 10:0{number}:00") for number in range(5)]
    espo_holds(vendor, contacts=contacts)
    assert compare(connect("espocrm")).state == "done"
    assert known() == ["c0", "c1", "c2", "c3", "c4"]
    asked = [request.query for request in vendor.asked if request.path == "/api/v1/Contact"]
    assert {query["offset"] for query in asked} == {"0"}
    assert [query["where[0][value][]"][0] for query in asked][:3] == [
        "2026-11-01 00:00:00", "2026-11-02 10:01:00", "2026-11-02 10:02:00",
    ]  # fmt: skip


@pytest.mark.parametrize("of_one_second", [2, 3, 4, 5])
def test_espocrm_loses_nobody_where_a_page_ends_within_one_second(vendor, espo_pages_of_two, of_one_second):
    same = [espo_contact(f"s{number}") for number in range(of_one_second)]
    around = [
        espo_contact("before", at="2026-11-02 09:59:59"),
        espo_contact("later", at="2026-11-02 10:00:01"),
    ]
    espo_holds(vendor, contacts=[*same, *around])
    assert compare(connect("espocrm")).state == "done"
    assert known() == sorted(row["id"] for row in [*same, *around])


def test_nobody_is_left_out_when_an_espocrm_contact_changes_between_two_pages(vendor, espo_pages_of_two):
    contacts = [espo_contact(f"c{number}", at=f"2026-11-02 10:0{number}:00") for number in range(4)]

    def answer(request):
        told = espocrm.changed(contacts, request.query)
        contacts[0] = {**contacts[0], "modifiedAt": "2026-11-02 11:00:00"}
        return told

    espo_holds(vendor)
    vendor.answers["/api/v1/Contact"] = answer
    compare(connect("espocrm"))
    assert known() == ["c0", "c1", "c2", "c3"]


def test_an_espocrm_comparison_goes_on_at_its_cursor(vendor, espo_pages_of_two):
    contacts = [espo_contact(f"c{number}", at=f"2026-11-02 10:0{number}:00") for number in range(3)]
    espo_holds(vendor, contacts=contacts)
    listed = vendor.answers["/api/v1/Contact"]
    vendor.answers["/api/v1/Contact"] = [listed, (503, {}, {}), listed]
    comparison = compare(connect("espocrm"))
    assert (comparison.state, comparison.pages) == ("queued", 1)
    assert comparison.cursor == {"kind": "Contact", "since": "2026-11-02 10:01:00", "offset": 0}
    Reconciliation.objects.update(run_after=timezone.now() - timedelta(seconds=1))
    reconciling.work(comparison.pk)
    comparison.refresh_from_db()
    assert (comparison.state, known()) == ("done", ["c0", "c1", "c2"])
    begun = [request.query["where[0][value][]"][0] for request in vendor.asked[1:4]]
    assert begun == ["2026-11-02 10:01:00", "2026-11-02 10:01:00", "2026-11-02 10:02:00"]


def test_an_espocrm_key_that_may_not_read_opportunities_is_said(vendor):
    espo_holds(vendor, contacts=[espo_contact("c1")])
    vendor.answers["/api/v1/Opportunity"] = (403, {}, {})
    comparison = compare(connect("espocrm"))
    assert comparison.state == "failed"
    assert "what it may read" in comparison.error
    assert known() == ["c1"]


# --- the nightly start and the command
def test_a_night_starts_one_comparison_a_connection(nudges, django_capture_on_commit_callbacks):
    from workers import sweeps

    row = connect("shopify")
    fixtures.connection("plain")
    fixtures.connection("keyless", adapter="shopify")
    with time_machine.travel(NOW), django_capture_on_commit_callbacks(execute=True):
        sweeps.start_nightly_comparisons()
        sweeps.start_nightly_comparisons()
    comparison = Reconciliation.objects.get()
    assert (comparison.connection, comparison.period) == (row, "2026-11-05")
    assert nudges == [(Job.RECONCILE, {"reconciliation_id": comparison.pk})]


def test_the_night_begins_at_one_in_the_shops_time_zone():
    from workers import sweeps

    connect("shopify")
    with time_machine.travel(NOW.replace(hour=0)):
        sweeps.start_nightly_comparisons()
    assert not Reconciliation.objects.exists()


def test_a_comparison_goes_on_where_the_last_one_ended():
    row = connect("shopify")
    Reconciliation.objects.create(
        connection=row, period="a", since=SINCE, until=SINCE + timedelta(days=1), state="done"
    )
    comparison, _new = reconciling.start(row, period="b", now=NOW)
    assert comparison.since == SINCE + timedelta(days=1) - reconciling.OVERLAP


def test_a_comparison_that_nobody_holds_is_nudged(nudges, django_capture_on_commit_callbacks):
    from workers import sweeps

    comparison, _new = reconciling.start(connect("shopify"), period="p", now=NOW)
    Reconciliation.objects.update(run_after=timezone.now() - timedelta(hours=1))
    with django_capture_on_commit_callbacks(execute=True):
        sweeps.nudge_late_rows()
    assert (Job.RECONCILE, {"reconciliation_id": comparison.pk}) in nudges


def test_the_command_says_what_was_missing(vendor):
    connect("shopify")
    customers, orders = PATHS["shopify"]
    vendor.answers |= {customers: {"customers": []}, orders: {"orders": [content("shopify/orders_paid")]}}
    said = StringIO()
    call_command("reconcile", "shop", "--since", "2026-11-01", stdout=said)
    assert "1 facts were missing and are stored now, about 1 customers" in said.getvalue()
    assert vendor.asked[0].query["updated_at_min"] == SINCE.isoformat()


@pytest.mark.parametrize(("slug", "says"), [("nobody", "no connection"), ("shop", "cannot be compared")])
def test_the_command_refuses_what_cannot_be_compared(slug, says):
    fixtures.connection()
    with pytest.raises(CommandError, match=says):
        call_command("reconcile", slug)


def test_segment_says_that_it_has_no_past_to_ask_for():
    fixtures.connection(adapter="segment")
    with pytest.raises(CommandError, match="no API that lists past events.*replay"):
        call_command("reconcile", "shop", "--since", "2026-11-01")


def test_the_command_needs_credentials():
    fixtures.connection(adapter="shopify")
    with pytest.raises(CommandError, match="No API credentials"):
        call_command("reconcile", "shop")


# --- privacy
@pytest.mark.parametrize(
    ("name", "topic", "severity", "says"),
    [
        ("customers_delete", "customers/delete", "warning", "was deleted in"),
        ("shop_redact", "shop/redact", "error", "everything that came from this shop"),
    ],
)
def test_a_privacy_topic_alerts_staff_once_and_erases_nothing(name, topic, severity, says):
    row = fixtures.connection(adapter="shopify")
    processed(row, "shopify/customers_update", topic="customers/update", key="1")
    message = processed(row, f"shopify/{name}", topic=topic, key="2")
    processed(row, f"shopify/{name}", topic=topic, key="3")
    alert = Alert.objects.get()
    assert (message.outcome, alert.severity) == ("recorded", severity)
    assert says in alert.message
    assert "ada@example.com" not in alert.message
    assert Customer.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "topic", "kind"),
    [
        ("customers_redact", "customers/redact", PrivacyRequest.Kind.ERASE),
        ("customers_data_request", "customers/data_request", PrivacyRequest.Kind.EXPORT),
    ],
)
def test_a_privacy_request_starts_by_itself_once_known_or_not(name, topic, kind):
    row = fixtures.connection(adapter="shopify")
    processed(row, f"shopify/{name}", topic=topic, key="2")
    message = processed(row, f"shopify/{name}", topic=topic, key="3")
    asked = PrivacyRequest.objects.get()
    assert (asked.kind, asked.source, message.outcome) == (kind, "webhook:shop", "recorded")
    assert not Alert.objects.exists()


def test_an_ordinary_body_under_the_topic_of_an_erasure_erases_nobody():
    """The topic is an unsigned header: a message that somebody copied must not become a request."""
    row = fixtures.connection(adapter="shopify")
    for name in ("customers_update", "customers_data_request"):
        message = processed(row, f"shopify/{name}", topic="customers/redact", key=name)
        assert message.outcome in {"rejected", "unreadable"}
    assert not PrivacyRequest.objects.exists()


def test_a_deletion_of_somebody_unknown_alerts_nobody():
    row = fixtures.connection(adapter="shopify")
    processed(row, "shopify/customers_delete", topic="customers/delete")
    assert not Alert.objects.exists()


def test_credentials_are_encrypted_and_kept_where_nothing_new_is_given():
    from django.db import connection as database

    row = connect("mautic")
    connections.save_settings(row, options={"site": "https://m.example.com"}, credentials={"user": "other"})
    row.refresh_from_db()
    assert row.credentials == {"user": "other", "password": "pass-1"}
    with database.cursor() as cursor:
        cursor.execute("SELECT api_credentials FROM crm_integration_connection")
        assert "pass-1" not in cursor.fetchone()[0]
    assert json.dumps(row.options) == '{"site": "https://m.example.com"}'
