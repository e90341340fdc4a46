from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from standardwebhooks import Webhook

from crm_integration import connections, http, outbox
from crm_integration.connections import Door
from crm_integration.models import Connection, DeliveryAttempt, OutboundMessage
from segmentation import leases
from segmentation.jobs import Job
from segmentation.models import (
    AuditEntry,
    Campaign,
    Customer,
    Decision,
    LeaseState,
    Membership,
    Offer,
    Segment,
    ServicePriority,
    ServicePriorityRule,
)
from segmentation.news import News
from tests.crm_integration import fake_crm, fixtures
from tests.crm_integration.fixtures import decided, decision

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender(crm):
    return fixtures.connection("crm", url=crm.url)


def staged(*rows):
    outbox.stage(decided(*(rows or [decision()])))
    return OutboundMessage.objects.latest("pk")


def deliver(message):
    outbox.deliver(message.pk)
    message.refresh_from_db()
    return message


def make_due(message):
    OutboundMessage.objects.filter(pk=message.pk).update(run_after=timezone.now() - timedelta(seconds=1))
    Connection.objects.update(rests_until=None)


# --- staging
def test_a_decision_is_staged_once_for_each_sending_connection(
    sender, nudges, django_capture_on_commit_callbacks
):
    fixtures.connection("second", url="https://second.example.com/")
    fixtures.connection("only-listens")
    Connection.objects.create(
        slug="off", name="Off", is_active=False, sends_outbound=True, outbound_url="https://off.example.com/"
    )
    rows = decided(decision("c-1"), decision("c-2"))
    with django_capture_on_commit_callbacks(execute=True):
        outbox.stage(rows)
        outbox.stage(rows)
    found = set(OutboundMessage.objects.values_list("connection__slug", "message_id"))
    assert found == {(slug, f"decision_{row.decision_id}") for slug in ("crm", "second") for row in rows}
    assert nudges
    assert {job for job, _ids in nudges} == {Job.DELIVER}
    assert {ids["connection_id"] for _job, ids in nudges} == set(
        Connection.objects.filter(slug__in=["crm", "second"]).values_list("pk", flat=True)
    )


def test_without_a_sending_connection_staging_costs_one_query(db, django_assert_num_queries):
    rows = decided(decision())
    with django_assert_num_queries(1):
        assert outbox.stage(rows) == 0
    assert not OutboundMessage.objects.exists()


def test_staging_asks_as_much_for_forty_as_for_one(sender, shop):
    """SQLite takes 999 values a statement: so many fit into one."""
    one, forty = decided(decision("c-0")), decided(*(decision(f"c-{number}") for number in range(1, 41)))
    outbox.stage(decided(decision("c-41")))  # the shop as it is set is read once a process
    asked = []
    for rows in (one, forty):
        with CaptureQueriesContext(database) as queries:
            outbox.stage(rows)
        asked.append(len(queries))
    assert OutboundMessage.objects.count() == 42
    assert asked[0] == asked[1] < 10


def test_the_version_grows_with_each_message_about_a_customer_whatever_the_clock_does(sender):
    first = staged(decision(input_version=1))
    with time_machine.travel(timezone.now() - timedelta(hours=1)):
        second = staged(decision(input_version=2, priority=4))
    assert second.subject_version > first.subject_version
    assert json.loads(bytes(second.body))["data"]["version"] == second.subject_version


def restage(**changes):
    """A second decision about the same customer; True when it was sent on."""
    before = OutboundMessage.objects.count()
    outbox.stage(decided(decision(input_version=2, **changes)))
    return OutboundMessage.objects.count() > before


def test_a_decision_that_tells_a_receiver_nothing_new_is_not_sent(
    sender, nudges, django_capture_on_commit_callbacks
):
    staged(decision(tier="high", churn_probability=0.1))
    with django_capture_on_commit_callbacks(execute=True):
        assert not restage(churn_probability=0.4, future_value_minor=500)
    assert nudges == []


@pytest.mark.parametrize("change", [{"priority": 3}, {"tier": "low"}])
def test_another_priority_or_tier_is_sent(sender, change):
    staged(decision(tier="high"))
    assert restage(**change)


def test_another_offer_or_segment_is_sent(sender):
    staged(decision())
    offer = Offer.objects.create(slug="tea", name="Tea", kind="gift", valid_days=14)
    assert restage(offer=offer)
    row = decision(input_version=3, offer=offer)
    Membership.objects.create(
        customer=row.customer, segment=Segment.objects.create(slug="at-risk", name="At risk")
    )
    outbox.stage(decided(row))
    assert OutboundMessage.objects.count() == 3


# --- news without a decision
def told_about(customer):
    """What the outbox holds after news of this customer that decided nothing: (topic, data) of the newest message."""
    outbox.stage([News(customer.pk)])
    newest = OutboundMessage.objects.latest("pk")
    return newest.topic, json.loads(bytes(newest.body))["data"]


def test_another_tier_is_told_although_the_decision_stands(sender):
    row = decision(tier="high")
    first = staged(row)
    Customer.objects.update(tier="low")
    topic, data = told_about(row.customer)
    assert (topic, data["tier"], data["decision_id"]) == ("customer.classified", "low", row.pk)
    assert data["version"] > first.subject_version


def test_a_segment_entered_and_one_left_are_told_although_the_decision_stands(sender):
    row = decision()
    staged(row)
    segment = Segment.objects.create(slug="at-risk", name="At risk")
    Membership.objects.create(customer=row.customer, segment=segment)
    assert told_about(row.customer)[1]["segments"] == ["at-risk"]
    Membership.objects.all().delete()
    assert told_about(row.customer)[1]["segments"] == []
    assert OutboundMessage.objects.count() == 3


def test_news_that_was_told_already_is_not_told_again(sender):
    row = decision(tier="high")
    staged(row)
    told_about(row.customer)
    assert OutboundMessage.objects.count() == 1
    Customer.objects.update(tier="low")
    for _again in range(2):
        told_about(row.customer)
    assert OutboundMessage.objects.count() == 2


def test_nothing_is_told_of_a_customer_about_whom_nothing_was_decided(sender):
    outbox.stage([News(Customer.objects.create(reference="new").pk)])
    assert not OutboundMessage.objects.exists()


def test_of_several_messages_that_wait_the_newest_goes(sender, crm):
    row = decision(tier="high")
    first = staged(row)
    for tier in ("medium", "low"):
        Customer.objects.update(tier=tier)
        told_about(row.customer)
    outbox.deliver_due()
    ((_headers, body),) = crm.requests
    assert json.loads(body)["data"]["tier"] == "low"
    first.refresh_from_db()
    assert first.state == LeaseState.CANCELLED
    assert "newer message" in first.error
    assert set(OutboundMessage.objects.values_list("state", flat=True)) == {"cancelled", "done"}


def test_an_older_message_is_not_sent_again_over_a_newer_one(sender, crm):
    row = decision(tier="high")
    first = deliver(staged(row))
    Customer.objects.update(tier="low")
    told_about(row.customer)
    with pytest.raises(outbox.NotRedeliverable, match="newer message"):
        outbox.redeliver(first)


# --- how long an offer is good for
def gift(**fields):
    return Offer.objects.create(slug="tea", name="Tea", kind="gift", valid_days=14, **fields)


def decided_on(day, **fields):
    row = decision(**fields)
    Decision.objects.filter(pk=row.pk).update(decided_at=day)
    return row


def valid_until(moment, row):
    with time_machine.travel(moment):
        return json.loads(bytes(staged(row).body))["data"]["offer"]["valid_until"]


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("later", "until"), [(5, "2026-03-15"), (14, "2026-03-15"), (15, "2026-03-29")])
def test_an_offer_is_valid_from_when_it_was_first_given_and_then_anew(sender, shop, later, until):
    offer = gift()
    decided_on(NOON, offer=offer)
    moment = NOON + timedelta(days=later)
    again = decided_on(moment, input_version=2, offer=offer, priority=3)
    assert valid_until(moment, again) == until


def test_an_offer_that_comes_back_after_a_break_is_valid_from_then(sender, shop):
    offer = gift()
    decided_on(NOON, offer=offer)
    decided_on(NOON + timedelta(days=2), input_version=2)
    back = NOON + timedelta(days=5)
    assert valid_until(back, decided_on(back, input_version=3, offer=offer)) == "2026-03-20"


def test_what_never_arrived_is_told_again_by_the_next_decision(sender):
    message = staged(decision())
    OutboundMessage.objects.filter(pk=message.pk).update(state=LeaseState.FAILED)
    assert restage()


def test_a_connection_that_was_told_nothing_yet_is_told_everything(sender):
    staged(decision())
    late = fixtures.connection("late", url="https://late.example.com/")
    assert restage()
    assert OutboundMessage.objects.filter(connection=late).count() == 1
    assert OutboundMessage.objects.exclude(connection=late).count() == 1


def test_an_unforeseen_error_is_written_down_and_tried_again(sender, monkeypatch):
    monkeypatch.setattr(http, "post", lambda *args, **kwargs: {}["missing"])
    message = deliver(staged())
    assert message.state == LeaseState.QUEUED
    assert DeliveryAttempt.objects.get().error == "Unexpected error: KeyError."


def test_the_payload_says_who_what_and_why(sender, shop):
    offer = Offer.objects.create(
        slug="back",
        name="Come back",
        kind="percentage",
        text="{percentage} % off with {code}, or {amount}",
        percentage=Decimal("15.00"),
        value_minor=1250,
        code="BACK15",
        valid_days=14,
    )
    campaign = Campaign.objects.create(slug="win-back", name="Win back")
    segment = Segment.objects.create(slug="at-risk", name="At risk")
    row = decision(
        tier="high",
        churn_probability=0.82,
        future_value_minor=12345,
        offer=offer,
        campaign=campaign,
        priority=3,
    )
    Membership.objects.create(segment=segment, customer=row.customer)
    rule = ServicePriorityRule.objects.create(
        position=1, name="Valuable and leaving", segment=segment, level=3, handling="Call today"
    )
    ServicePriority.objects.create(customer=row.customer, level=3, rule=rule)
    row.refresh_from_db()
    message = staged(row)
    body = json.loads(bytes(message.body))
    until = (row.decided_at + timedelta(days=14)).date().isoformat()
    assert body["type"] == "decision.made"
    assert body["timestamp"] == row.decided_at.isoformat()
    assert body["data"] == {
        "decision_id": row.pk,
        "version": message.subject_version,
        "as_of": "2026-11-02",
        "customer": {"reference": "c-1"},
        "segments": ["at-risk"],
        "tier": "high",
        "churn_probability": 0.82,
        "expected_value": {"amount": "123.45", "currency": "GBP"},
        "offer": {
            "slug": "back", "name": "Come back", "kind": "percentage", "text": "15 % off with BACK15, or 12.50 GBP",
            "texts": {}, "products": [], "points": None,
            "percentage": "15", "value": {"amount": "12.50", "currency": "GBP"}, "code": "BACK15", "valid_until": until,
        },
        "campaign": {"slug": "win-back", "name": "Win back"},
        "also": [],
        "service_priority": {
            "level": 3, "name": "high", "handling": "Call today", "owner": None, "answer_by": None, "until": None,
        },
        "reasons": [
            "Outlook: likely to stop buying (82 %).",
            "In the segments: At risk.",
            "The campaign “Win back” gives “Come back”.",
            "Service priority by the rule “Valuable and leaving”.",
        ],
    }  # fmt: skip


def test_a_customer_without_scores_or_offer_has_empty_places(sender):
    data = json.loads(bytes(staged(decision()).body))["data"]
    assert (
        data["tier"],
        data["churn_probability"],
        data["expected_value"],
        data["offer"],
        data["campaign"],
    ) == (None,) * 5
    assert data["service_priority"]["name"] == "normal"


# --- delivering
def test_a_delivery_verifies_with_the_public_library(sender, crm):
    message = deliver(staged())
    headers, body = crm.requests[0]
    assert Webhook(sender.outbound_secret).verify(body, headers)["type"] == "decision.made"
    assert headers["webhook-id"] == message.message_id
    assert headers["Content-Type"] == "application/json"
    assert (message.state, message.delivered_at is not None) == ("done", True)
    attempt = DeliveryAttempt.objects.get()
    assert (attempt.number, attempt.status_code, attempt.error) == (1, 200, "")


def test_during_a_rotation_both_secrets_open_the_delivery(sender, crm):
    old = sender.outbound_secret
    new = connections.set_secret(sender, Door.OUTBOUND)
    deliver(staged())
    headers, body = crm.requests[0]
    for secret in (old, new):
        Webhook(secret).verify(body, headers)


def test_a_delivered_message_is_not_sent_again(sender, crm):
    message = deliver(staged())
    deliver(message)
    assert len(crm.requests) == 1


@pytest.mark.parametrize("status", [301, 307, 400, 404, 429, 500, 503])
def test_anything_but_success_is_tried_again_with_the_same_id(sender, crm, status):
    crm.answers = [(status, {"Location": crm.url}, b"no, thanks"), (204, {}, b"")]
    message = deliver(staged())
    assert (message.state, message.attempts) == ("queued", 1)
    assert str(status) in message.error
    assert timedelta(seconds=3) < message.run_after - timezone.now() <= timedelta(seconds=6)
    deliver(message)
    assert len(crm.requests) == 1, "not due yet"
    make_due(message)
    deliver(message)
    assert message.state == "done"
    assert crm.requests[0][0]["webhook-id"] == crm.requests[1][0]["webhook-id"]
    assert crm.requests[0][1] == crm.requests[1][1]
    assert list(DeliveryAttempt.objects.values_list("number", "status_code")) == [(1, status), (2, 204)]


@pytest.mark.parametrize("behaviour", [fake_crm.hang, fake_crm.hang_up])
def test_a_receiver_without_an_answer_is_tried_again(sender, crm, behaviour, monkeypatch):
    crm.answers = [behaviour]
    post = http.post
    quick = http.Limits(connect=1, read=0.2, total=0.5)
    monkeypatch.setattr(http, "post", lambda *args, **options: post(*args, **options, limits=quick))
    message = deliver(staged())
    assert message.state == "queued"
    attempt = DeliveryAttempt.objects.get()
    assert attempt.status_code is None
    assert attempt.error


def test_retry_after_is_honoured_up_to_a_day(sender, crm):
    crm.answers = [(429, {"Retry-After": "600"}, b""), (429, {"Retry-After": "9999999"}, b"")]
    message = deliver(staged())
    assert message.run_after - timezone.now() > timedelta(seconds=590)
    make_due(message)
    deliver(message)
    assert timedelta(hours=23) < message.run_after - timezone.now() <= timedelta(hours=24)


PLANNED = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


def test_each_attempt_comes_when_the_schedule_says_and_not_before(sender, crm):
    crm.answers = [(500, {}, b"broken")]
    message = staged()
    for seconds in PLANNED:
        before = timezone.now()
        deliver(message)
        assert message.run_after - before >= timedelta(seconds=0.8 * seconds)
        assert message.run_after - timezone.now() <= timedelta(seconds=1.2 * seconds)
        tried = len(crm.requests)
        deliver(message)
        assert (len(crm.requests), outbox.due_ids()) == (tried, [])
        make_due(message)
    assert deliver(message).state == "failed"


def test_the_schedule_is_the_published_one_with_jitter():
    for attempts, seconds in enumerate(PLANNED, start=1):
        waits = [outbox.wait_before_next(attempts).total_seconds() for _ in range(200)]
        assert 0.8 * seconds <= min(waits) < 0.9 * seconds
        assert 1.1 * seconds < max(waits) <= 1.2 * seconds
    assert outbox.MAX_ATTEMPTS == 10


def test_after_ten_attempts_a_message_is_dead_and_says_why(sender, crm):
    crm.answers = [(500, {}, b"broken")]
    message = staged()
    for _attempt in range(outbox.MAX_ATTEMPTS):
        make_due(message)
        deliver(message)
    assert (message.state, len(crm.requests)) == ("failed", 10)
    assert "500" in message.error
    assert outbox.due_ids() == []


def test_gone_stops_the_connection_and_what_waits_stays(sender, crm):
    crm.answers = [(410, {}, b"")]
    first = staged(decision("c-1"))
    second = staged(decision("c-2"))
    deliver(first)
    sender.refresh_from_db()
    assert (first.state, sender.sends_outbound) == ("failed", False)
    assert "410" in sender.disabled_reason
    assert outbox.due_ids() == []
    deliver(second)
    assert len(crm.requests) == 1
    Connection.objects.update(sends_outbound=True)
    crm.answers = [(200, {}, b"")]
    assert deliver(second).state == "done"


def test_a_forbidden_address_stops_the_connection_without_a_connection_made(sender, crm, settings):
    settings.OUTBOUND_ALLOW = []
    message = deliver(staged())
    sender.refresh_from_db()
    assert (message.state, sender.sends_outbound) == ("failed", False)
    assert crm.requests == []


def test_a_connection_without_a_secret_sends_nothing(sender, crm):
    Connection.objects.update(outbound_secret="")
    deliver(staged())
    assert crm.requests == []


def test_a_huge_reply_is_cut_and_leaves_one_short_line(sender, crm):
    crm.answers = [fake_crm.endless]
    deliver(staged())
    assert len(DeliveryAttempt.objects.get().error) <= 300


def test_what_a_receiver_says_is_kept_printable(sender, crm):
    crm.answers = [(400, {}, b"\x00\x1b[31m<script>\xff")]
    deliver(staged())
    error = DeliveryAttempt.objects.get().error
    assert error.isprintable()


def test_no_request_is_made_inside_a_transaction(sender, crm, monkeypatch):
    depth = len(database.savepoint_ids)
    seen = []
    post = http.post

    def watched(*args, **options):
        seen.append(len(database.savepoint_ids))
        return post(*args, **options)

    monkeypatch.setattr(http, "post", watched)
    deliver(staged())
    assert seen == [depth]


def test_a_worker_that_lost_its_claim_records_nothing(sender, crm, monkeypatch):
    message = staged()
    settle = outbox._settle_all

    def late(*args):
        OutboundMessage.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        leases.claim(OutboundMessage.objects.all())
        return settle(*args)

    monkeypatch.setattr(outbox, "_settle_all", late)
    outbox.deliver(message.pk)
    message.refresh_from_db()
    assert len(crm.requests) == 1
    assert message.state == "running"
    assert not DeliveryAttempt.objects.exists()


def test_a_message_whose_worker_died_is_sent_again_under_its_id(sender, crm):
    message = staged()
    leases.claim(OutboundMessage.objects.all(), lease=timedelta(seconds=-1))
    assert outbox.due_ids() == [message.pk]
    assert deliver(message).state == "done"
    assert crm.requests[0][0]["webhook-id"] == message.message_id


# --- whatever is due
def test_everything_due_is_delivered_at_one_nudge(sender, crm):
    staged(*(decision(f"c-{number}") for number in range(5)))
    assert outbox.deliver_due() == 5
    assert {headers["webhook-id"] for headers, _body in crm.requests} == set(
        OutboundMessage.objects.values_list("message_id", flat=True)
    )
    assert outbox.deliver_due() == 0


def test_many_deliveries_are_one_batch(sender, crm, django_assert_max_num_queries):
    staged(*(decision(f"c-{number}") for number in range(20)))
    with django_assert_max_num_queries(40):
        assert outbox.deliver_due() == 20
    assert set(OutboundMessage.objects.values_list("state", "attempts")) == {("done", 1)}
    assert DeliveryAttempt.objects.filter(number=1, status_code=200).count() == 20
    assert not OutboundMessage.objects.filter(delivered_at=None).exists()


def test_what_stands_behind_a_failure_is_given_back_untried(sender, crm):
    crm.answers = [(200, {}, b""), (500, {}, b""), (200, {}, b"")]
    staged(*(decision(f"c-{number}") for number in range(4)))
    outbox.deliver_due()
    rows = OutboundMessage.objects.order_by("pk")
    assert list(rows.values_list("state", "attempts")) == [
        ("done", 1),
        ("queued", 1),
        ("queued", 0),
        ("queued", 0),
    ]
    assert DeliveryAttempt.objects.count() == 2


def test_a_failing_connection_rests_and_does_not_slow_the_others(sender, crm, settings):
    with fake_crm.running() as dead:
        dead.answers = [(500, {}, b"")]
        settings.OUTBOUND_ALLOW = [crm.pair, dead.pair]
        fixtures.connection("dead", url=dead.url)
        staged(*(decision(f"c-{number}") for number in range(4)))
        outbox.deliver_due()
        assert len(dead.requests) == 1
    assert len(crm.requests) == 4


def test_when_time_is_up_and_nothing_is_left_nobody_is_nudged(
    sender, nudges, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        assert outbox.deliver_due(sender.pk, seconds=0) == 0
    assert nudges == []


def test_when_time_is_up_the_rest_is_nudged_again(sender, nudges, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        staged(decision())
        nudges.clear()
        assert outbox.deliver_due(seconds=0) == 0
    assert (Job.DELIVER, {"connection_id": sender.pk}) in nudges


# --- by hand
def test_a_dead_message_is_sent_again_by_hand_with_a_new_schedule(sender, crm, django_user_model):
    crm.answers = [(500, {}, b"")]
    message = staged()
    OutboundMessage.objects.update(attempts=outbox.MAX_ATTEMPTS - 1)
    deliver(message)
    assert message.state == "failed"
    person = django_user_model.objects.create_user("ada")
    outbox.redeliver(message, actor=person)
    message.refresh_from_db()
    assert (message.state, message.attempts) == ("queued", 0)
    crm.answers = [(200, {}, b"")]
    assert deliver(message).state == "done"
    assert list(DeliveryAttempt.objects.values_list("number", flat=True)) == [1, 2]
    assert AuditEntry.objects.get(action="outbound.redelivered").actor == person


def test_a_waiting_message_cannot_be_sent_twice_by_hand(sender):
    message = staged()
    with pytest.raises(outbox.NotRedeliverable):
        outbox.redeliver(message)
    Connection.objects.update(sends_outbound=False)
    with pytest.raises(outbox.NotRedeliverable):
        outbox.redeliver(message)


def test_a_test_message_travels_like_any_other(sender, crm):
    message = deliver(outbox.stage_test(sender))
    headers, body = crm.requests[0]
    assert Webhook(sender.outbound_secret).verify(body, headers)["type"] == "ping"
    assert (message.topic, message.state) == ("ping", "done")


def test_the_demo_receiver_keeps_what_is_signed_and_refuses_the_rest(tmp_path, settings):
    from crm_integration.demo_receiver import DemoReceiver

    receiver = DemoReceiver(log=tmp_path / "received.jsonl").start()
    try:
        settings.OUTBOUND_ALLOW = [receiver.pair]
        row = fixtures.connection("demo", url=receiver.url)
        receiver.secret = row.outbound_secret
        message = deliver(staged())
        refused = http.post(receiver.url, body=b"{}", headers={"webhook-id": "x"})
    finally:
        receiver.stop()
    (entry,) = receiver.received()
    assert (message.state, entry["id"], entry["message"]["type"]) == (
        "done",
        message.message_id,
        "decision.made",
    )
    assert refused.status == 401
