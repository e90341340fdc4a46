"""Each connection has a queue of its own: one that is dead, slow or busy does not hold up the others."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from crm_integration import attempts, connections, outbox
from crm_integration.models import Connection, OutboundMessage
from segmentation.models import LeaseState
from tests.crm_integration import fake_crm, fixtures
from tests.crm_integration.fixtures import decided, decision
from tests.support.patience import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender(crm):
    return fixtures.connection("crm", url=crm.url)


def stage(count, start=0):
    outbox.stage(decided(*(decision(f"c-{number}") for number in range(start, start + count))))


def make_due():
    OutboundMessage.objects.filter(state=LeaseState.QUEUED).update(
        run_after=timezone.now() - timedelta(seconds=1)
    )


def fail(times):
    for _failure in range(times):
        make_due()
        outbox.deliver_due()


def rested():
    Connection.objects.update(rests_until=timezone.now() - timedelta(seconds=1))


def test_after_three_failures_in_a_row_nothing_is_tried_for_a_while(sender, crm):
    crm.answers = [(500, {}, b"")]
    stage(4)
    fail(3)
    sender.refresh_from_db()
    assert (len(crm.requests), sender.failures, sender.is_resting) == (3, 3, True)
    fail(3)
    assert len(crm.requests) == 3
    assert outbox.due_connections() == []
    assert outbox.due_ids() == []


def test_one_probe_finds_out_and_a_success_lets_the_rest_follow(sender, crm):
    crm.answers = [(500, {}, b"")] * 4 + [(200, {}, b"")]
    stage(5)
    fail(3)
    rested()
    fail(1)
    sender.refresh_from_db()
    assert (len(crm.requests), sender.failures, sender.is_resting) == (4, 4, True)
    rested()
    fail(1)
    sender.refresh_from_db()
    assert (sender.failures, sender.rests_until, sender.failing_since) == (0, None, None)
    assert set(OutboundMessage.objects.values_list("state", flat=True)) == {"done"}


def test_of_two_workers_one_sends_the_probe(sender):
    rested()
    sender.refresh_from_db()
    assert [connections.may_try(sender), connections.may_try(sender)] == [True, False]


def test_the_rest_doubles_up_to_ten_minutes():
    assert connections.rest_after(2) == timedelta(0)
    for failures, planned in ((3, 15), (4, 30), (5, 60), (8, 480), (9, 600), (400, 600)):
        waits = [connections.rest_after(failures).total_seconds() for _ in range(200)]
        assert 0.8 * planned <= min(waits) <= max(waits) <= 1.2 * planned


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_that_asks_for_time_is_left_alone_as_a_whole(sender, crm, status):
    crm.answers = [(status, {"Retry-After": "60"}, b""), (200, {}, b"")]
    stage(3)
    outbox.deliver_due()
    sender.refresh_from_db()
    assert (len(crm.requests), sender.is_resting) == (1, True)
    assert timedelta(seconds=55) < sender.rests_until - timezone.now() <= timedelta(seconds=60)
    rested()
    fail(1)
    assert len(crm.requests) == 4


def test_staff_who_try_it_now_end_the_rest(sender, crm):
    crm.answers = [(500, {}, b"")] * 3 + [(200, {}, b"")]
    stage(1)
    fail(3)
    outbox.stage_test(sender)
    outbox.deliver_due(sender.pk)
    assert len(crm.requests) == 4


def test_a_long_queue_does_not_hold_up_the_others(sender, crm, settings, monkeypatch):
    """The connections take turns."""
    monkeypatch.setattr(outbox, "TURN_SECONDS", 0.0)
    with fake_crm.running() as other:
        settings.OUTBOUND_ALLOW = [crm.pair, other.pair]
        stage(6)
        fixtures.connection("other", url=other.url)
        stage(1, start=100)
        turns = []
        turn = outbox._turn
        monkeypatch.setattr(
            outbox, "_turn", lambda key, *, until: turns.append(key) or turn(key, until=until + 0.02)
        )
        outbox.deliver_due()
        assert len(other.requests) == 1
    assert len(crm.requests) == 7
    assert len(set(turns[:2])) == 2


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_hangs_is_waited_for_aside(settings, crm, monkeypatch):
    monkeypatch.setattr(attempts, "IN_TURN_SECONDS", 0.0)
    let_go = threading.Event()

    def hang(handler):
        let_go.wait(30)
        handler.reply(200, {}, b"")

    with fake_crm.running() as slow:
        slow.answers = [hang]
        settings.OUTBOUND_ALLOW = [crm.pair, slow.pair]
        hung = fixtures.connection("slow", url=slow.url)
        quick = fixtures.connection("crm", url=crm.url)
        stage(5)
        outbox.deliver_due()
        # On a busy machine the quick one may be waited for aside as well.
        wait_until(lambda: outbox.deliver_due(quick.pk) is not None and len(crm.requests) == 5)
        assert len(slow.requests) == 1
        waiting = OutboundMessage.objects.filter(connection=hung)
        assert waiting.filter(state="running").count() == 5
        OutboundMessage.objects.filter(state="running").update(
            started_at=timezone.now() - timedelta(seconds=5)
        )
        outbox.deliver_due(hung.pk)
        assert len(slow.requests) == 1, "one worker waits for it, and no second one"
        let_go.set()
        wait_until(lambda: waiting.filter(state="done").exists())
    wait_until(lambda: not waiting.filter(state="running").exists())
    assert waiting.filter(state="done").count() == 1
    assert waiting.filter(state="queued", attempts=0).count() == 4, (
        "what is behind a slow answer is given back"
    )
