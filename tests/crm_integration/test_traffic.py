"""A connection's page: messages by hour, how late they are, silence, unknown topics and dead deliveries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from crm_integration import hours, inbox, silence
from crm_integration.admin import traffic
from crm_integration.models import InboundHour, InboundMessage, InboundTally, OutboundMessage
from crm_integration.retention import prune_messages
from segmentation.models import Alert, Decision
from tests.crm_integration import fixtures
from tests.crm_integration.fixtures import decision, deliver, envelope, order
from tests.crm_integration.test_setup_pages import html, page

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONNECTION_PAGE = 26


def message(connection, key, *, at, state="done", outcome="recorded", **fields):
    return InboundMessage.objects.create(
        connection=connection, dedupe_key=key, body=b"{}", body_sha256="", received_at=at, state=state,
        outcome=outcome, **fields,
    )  # fmt: skip


def counted():
    return list(InboundHour.objects.order_by("hour").values_list("hour", "received", "failed", "unknown"))


# --- counting
def test_messages_are_counted_by_hour_once(connection):
    message(connection, "a", at=NOON)
    message(connection, "b", at=NOON + timedelta(minutes=59), state="failed", outcome="unreadable")
    message(connection, "c", at=NOON + HOUR, outcome="unknown_topic")
    assert hours.count_new() == 3
    assert hours.count_new() == 0
    assert counted() == [(NOON, 2, 1, 0), (NOON + HOUR, 1, 0, 1)]
    message(connection, "d", at=NOON)
    hours.count_new()
    assert counted()[0] == (NOON, 3, 1, 0)


def test_a_backlog_is_counted_piece_by_piece(connection):
    for number in range(5):
        message(connection, str(number), at=NOON)
    assert [hours.count_new(at_once=2) for _turn in range(4)] == [2, 2, 1, 0]
    assert counted() == [(NOON, 5, 0, 0)]


def test_fresh_messages_wait_so_that_none_with_a_lower_id_is_missed(connection):
    message(connection, "a", at=timezone.now())
    message(connection, "b", at=NOON)
    assert hours.count_new() == 0
    InboundMessage.objects.filter(dedupe_key="a").update(received_at=NOON)
    assert hours.count_new() == 2


def test_a_sweep_that_comes_second_counts_nothing_twice(connection, monkeypatch):
    message(connection, "a", at=NOON)
    settled = hours._settled

    def overtaken(after, at_once):
        rows = settled(after, at_once)
        monkeypatch.setattr(hours, "_settled", settled)
        hours.count_new()
        return rows

    monkeypatch.setattr(hours, "_settled", overtaken)
    assert hours.count_new() == 0
    assert counted() == [(NOON, 1, 0, 0)]
    assert InboundTally.objects.get().last_id == InboundMessage.objects.get().pk


def test_old_hours_are_pruned(connection):
    now = timezone.now()
    for age in (61, 59):
        InboundHour.objects.create(connection=connection, hour=now - timedelta(days=age))
    prune_messages()
    assert InboundHour.objects.count() == 1


# --- silence
def test_a_pause_is_odd_when_it_is_longer_than_any_before_by_half():
    busy = [NOON - number * HOUR for number in range(200, 0, -1)]
    last = busy[-1] + timedelta(minutes=30)
    assert not silence.of(busy, last, last + timedelta(minutes=80)).is_odd
    assert silence.of(busy, last, last + timedelta(minutes=100)).is_odd
    nightly = [hour for hour in busy if hour.hour >= 8]  # eight quiet hours each night
    assert not silence.of(nightly, last, last + timedelta(hours=11)).is_odd
    assert silence.of(nightly, last, last + timedelta(hours=13)).is_odd


def test_nobody_knows_what_is_usual_for_a_new_connection():
    assert silence.of([], None, NOON) is None
    assert not silence.of([NOON], NOON, NOON + timedelta(days=30)).is_odd
    first_day = [NOON + number * HOUR for number in range(14)]
    assert not silence.of(first_day, first_day[-1], first_day[-1] + timedelta(hours=9)).is_odd, (
        "its first night"
    )


def test_staff_are_told_of_a_connection_that_has_gone_quiet_until_it_speaks_again(client, connection):
    now = timezone.now()
    for number in range(200):
        InboundHour.objects.create(connection=connection, hour=now - (number + 30) * HOUR, received=3)
    message(connection, "a", at=now - timedelta(hours=29))
    for _twice in range(2):
        silence.watch()
    alert = Alert.objects.get()
    assert "Nothing has come from “Shop” for 29 hours" in alert.message
    assert alert.resolved_at is None
    InboundHour.objects.all().delete()
    silence.watch()
    assert Alert.objects.filter(resolved_at=None).exists(), (
        "that the usual is forgotten does not end the silence"
    )
    deliver(client, connection, envelope("unheard.of"))
    silence.watch()
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_a_connection_that_is_switched_off_is_not_expected_to_speak(connection):
    now = timezone.now()
    for number in range(200):
        InboundHour.objects.create(connection=connection, hour=now - (number + 30) * HOUR, received=3)
    message(connection, "a", at=now - timedelta(hours=29))
    silence.watch()
    connection.is_active = False
    connection.save()
    silence.watch()
    assert not Alert.objects.filter(resolved_at=None).exists()


# --- the page
def test_the_page_draws_and_tells_how_messages_flow(admin_client, client, connection):
    now = timezone.now()
    for number in range(200):
        InboundHour.objects.create(connection=connection, hour=now - (number + 30) * HOUR, received=3)
    made = decision("c-1")
    old = now - timedelta(hours=29)
    message(
        connection, "a", at=old, finished_at=old + timedelta(seconds=2),
        detail={"customer_ids": [made.customer_id]}, topic="order.placed",
    )  # fmt: skip
    Decision.objects.update(decided_at=old + timedelta(seconds=3))
    text = html(admin_client.get(page("connection_change", connection.pk)))
    assert "Nothing has come for 29 h 0 min" in text
    assert "half within 2.00 s" in text
    assert "half within 3.00 s" in text
    deliver(client, connection, envelope("unheard.of"))
    inbox.process(InboundMessage.objects.latest("pk").pk)
    text = html(admin_client.get(page("connection_change", connection.pk)))
    assert "<code>unheard.of</code> ×1" in text
    assert "Nothing has come for" not in text


def test_dead_and_waiting_deliveries_are_told(admin_client):
    row = fixtures.connection(url="https://crm.example.com/", accepts_inbound=False)
    for number, state in enumerate(("failed", "failed", "queued")):
        OutboundMessage.objects.create(
            connection=row, message_id=str(number), topic="ping", body=b"{}", state=state, attempts=1
        )
    found = traffic.of(row).outgoing
    assert (found.dead, found.oldest_due is not None, found.tried_again_at is not None) == ("2", True, True)
    assert "Dead deliveries" in html(admin_client.get(page("connection_change", row.pk)))


def test_the_page_costs_the_same_however_much_came(admin_client, client, connection):
    def queries():
        with CaptureQueriesContext(database) as found:
            admin_client.get(page("connection_change", connection.pk))
        return len(found)

    deliver(client, connection, order())
    inbox.process(InboundMessage.objects.get().pk)
    queries()
    few = queries()
    for number in range(30):
        message(connection, str(number), at=NOON, detail={"customer_ids": [number]})
        InboundHour.objects.create(connection=connection, hour=timezone.now() - number * HOUR, received=1)
    assert queries() == few <= CONNECTION_PAGE
