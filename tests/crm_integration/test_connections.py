from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection as database
from django.utils import timezone

from crm_integration import connections, signatures
from crm_integration.connections import Door
from crm_integration.models import Connection
from segmentation.models import Alert, AuditEntry
from tests.crm_integration import fixtures

pytestmark = pytest.mark.django_db


@pytest.fixture
def now():
    return timezone.now()


def test_a_secret_is_encrypted_in_the_database(connection):
    with database.cursor() as cursor:
        cursor.execute("SELECT inbound_secret FROM crm_integration_connection")
        (stored,) = cursor.fetchone()
    assert connection.inbound_secret.startswith("whsec_")
    assert connection.inbound_secret[6:] not in stored


def test_the_first_secret_replaces_nothing(connection, now):
    assert connection.previous_secret_until is None
    assert connections.valid_secrets(connection, Door.INBOUND, now=now) == [connection.inbound_secret]


@pytest.mark.parametrize("door", list(Door))
def test_a_replaced_secret_stays_valid_for_a_day(door, now):
    row = fixtures.connection(url="https://crm.example.com/")
    old = getattr(row, f"{door}_secret")
    new = connections.set_secret(row, door)
    assert connections.valid_secrets(row, door, now=now + timedelta(hours=23, minutes=59)) == [new, old]
    assert connections.valid_secrets(row, door, now=now + timedelta(hours=24, minutes=1)) == [new]


def test_rotating_one_door_leaves_the_other_alone(now):
    row = fixtures.connection(url="https://crm.example.com/")
    inbound = row.inbound_secret
    connections.set_secret(row, Door.OUTBOUND)
    assert connections.valid_secrets(row, Door.INBOUND, now=now) == [inbound]


def test_a_secret_that_the_other_side_dictates_is_kept_when_it_has_the_right_form(connection):
    dictated = signatures.generate_secret()
    assert connections.set_secret(connection, Door.INBOUND, secret=f" {dictated}\n") == dictated
    with pytest.raises(signatures.InvalidSecret):
        connections.set_secret(connection, Door.INBOUND, secret="password")
    connection.refresh_from_db()
    assert connection.inbound_secret == dictated


def test_rotation_is_audited_without_the_secret(connection, django_user_model):
    person = django_user_model.objects.create_user("ada")
    new = connections.set_secret(connection, Door.INBOUND, actor=person)
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.actor, entry.detail) == (
        "connection.secret_rotated",
        person,
        {"door": "inbound"},
    )
    assert new not in str(list(AuditEntry.objects.values()))


def test_the_address_to_paste_is_complete(connection, settings):
    settings.SITE_URL = "https://tierwise.example.com/"
    assert connections.hook_url(connection) == "https://tierwise.example.com/hooks/shop/"


@pytest.fixture
def sender(db):
    return fixtures.connection(url="https://crm.example.com/")


def test_five_days_of_failures_stop_a_connection_with_an_alert(sender, now):
    for after in (0, 4.9):
        connections.record_failure(sender, now=now + timedelta(days=after))
        sender.refresh_from_db()
        assert sender.sends_outbound
    connections.record_failure(sender, now=now + timedelta(days=5.01))
    sender.refresh_from_db()
    assert not sender.sends_outbound
    assert "nothing could be delivered" in sender.disabled_reason
    assert sender.name in Alert.objects.get(resolved_at=None).message


def test_one_success_starts_the_five_days_anew(sender, now):
    connections.record_failure(sender, now=now)
    sender.refresh_from_db()
    connections.record_success(sender)
    sender.refresh_from_db()
    connections.record_failure(sender, now=now + timedelta(days=6))
    sender.refresh_from_db()
    assert sender.sends_outbound


def test_stopping_twice_raises_one_alert_and_switching_on_resolves_it(sender):
    for _again in range(2):
        connections.stop_sending(sender, reason="gone")
    assert Alert.objects.count() == 1
    Connection.objects.update(sends_outbound=True)
    connections.note_switched_on(sender)
    assert not Alert.objects.filter(resolved_at=None).exists()
    sender.refresh_from_db()
    assert (sender.disabled_reason, sender.failing_since) == ("", None)
