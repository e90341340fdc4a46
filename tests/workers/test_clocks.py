"""A clock that is wrong, jumps, or is put forward for the summer."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db.models.functions import Now
from django.utils import timezone

from crm_integration import inbox
from crm_integration.models import InboundMessage
from segmentation import leases, scoring_runs
from segmentation.models import LeaseState, Shop
from tests.crm_integration import fixtures
from workers import sweeps

pytestmark = pytest.mark.django_db

TEN = timedelta(minutes=10)
# Until this second clocks are put forward, and back, in most of Europe and in New York.
CHANGES = {
    "Europe/Berlin": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
}
zone_and_change = pytest.mark.parametrize(
    ("zone", "change"), [(zone, change) for zone, changes in CHANGES.items() for change in changes]
)


@pytest.fixture
def connection():
    return fixtures.connection()


@pytest.fixture
def local_clock(monkeypatch, zone):
    """This process lives in that time zone."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def message(connection, key, **fields):
    return InboundMessage.objects.create(
        connection=connection, dedupe_key=key, body=b"{}", body_sha256="0", **fields
    )


@pytest.mark.parametrize("wrong", [TEN, -TEN])
def test_claims_go_by_the_databases_clock(connection, wrong):
    message(connection, "held", state=LeaseState.RUNNING, lease_until=Now() + timedelta(seconds=15))
    lapsed = message(connection, "lapsed", state=LeaseState.RUNNING, lease_until=Now() - timedelta(seconds=1))
    with time_machine.travel(timezone.now() + wrong):
        fresh = message(connection, "fresh")
        claimed = leases.claim(InboundMessage.objects.all(), limit=9)
        assert {row.pk for row in claimed} == {fresh.pk, lapsed.pk}
    with time_machine.travel(timezone.now() - wrong):
        assert leases.claim(InboundMessage.objects.all(), limit=9) == []


def test_a_message_that_comes_again_after_a_jump_is_still_one(client, connection):
    """Back: it is too new for our clock. Ahead: too old. Right again: known."""
    body = fixtures.order()
    now = timezone.now()
    answers = []
    for wrong in (timedelta(0), -TEN, TEN, timedelta(0)):
        with time_machine.travel(now + wrong):
            answers.append(fixtures.deliver(client, connection, body, at=now).status_code)
    assert answers == [202, 401, 401, 202]
    assert InboundMessage.objects.count() == 1


@zone_and_change
def test_a_signature_is_as_old_as_it_is_when_clocks_are_changed(client, connection, local_clock, change):
    signed_at = change - timedelta(seconds=100)
    for number, (age, status) in enumerate(((299, 202), (301, 401), (-299, 202), (-301, 401))):
        with time_machine.travel(signed_at + timedelta(seconds=age), tick=False):
            answer = fixtures.deliver(
                client, connection, fixtures.order(at=change), at=signed_at, message_id=f"m-{number}"
            )
        assert answer.status_code == status


@pytest.mark.parametrize("hour", [0, 2, 23])
@zone_and_change
def test_the_day_of_a_change_has_one_classification_as_every_other(shop, monkeypatch, zone, change, hour):
    started, days = [], set()
    monkeypatch.setattr(scoring_runs, "start", lambda: started.append(timezone.now()))
    Shop.objects.update(time_zone=zone, classify_hour=hour)
    there = Shop.get().zone
    for half_hours in range(-48, 49):
        at = change + half_hours * timedelta(minutes=30)
        # Two beats, the clock of one runs behind.
        for moment in (at, at - timedelta(seconds=90)):
            with time_machine.travel(moment, tick=False):
                sweeps.start_nightly_classification()
        if at.astimezone(there).hour >= hour:
            days.add(at.astimezone(there).date())
    assert [moment.astimezone(there).date() for moment in started] == sorted(days)


def test_what_was_stored_before_a_jump_back_is_worked_off_once_and_at_once(connection):
    """Its moment lies in the future of this process; the database knows that it is due."""
    now = timezone.now()
    inbox.store(connection, dedupe_key="1", body=b'{"type": "ping"}', received_at=now)
    with time_machine.travel(now - TEN):
        assert inbox.process_due() == 1
        assert inbox.process_due() == 0
    assert InboundMessage.objects.get().state == LeaseState.DONE
