"""Retention and key rotation, as the operator runs them."""

from __future__ import annotations

import gzip
import os
import time
from datetime import date, timedelta
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db.models.functions import Now

from crm_integration.models import Connection, DeliveryAttempt, InboundMessage, OutboundMessage
from segmentation import contacts, crypto, privacy
from segmentation.models import Customer, Decision, InputSnapshot, LeaseState, PolicyVersion, PrivacyRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def var_dir(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    return tmp_path


def run(command, **options):
    out = StringIO()
    call_command(command, stdout=out, **options)
    return out.getvalue()


def decision(customer, version, *, days_ago):
    policy, _ = PolicyVersion.objects.get_or_create(sha256="0" * 64, defaults={"content": {}})
    moment = Now() - timedelta(days=days_ago)
    snapshot = InputSnapshot.objects.create(
        customer=customer, input_version=version, as_of=date(2026, 1, 1), content=b"", created_at=moment
    )
    return Decision.objects.create(
        customer=customer, input_version=version, policy=policy, snapshot=snapshot, as_of=date(2026, 1, 1),
        cause=Decision.Cause.BATCH, verdicts=b"", decided_at=moment,
    )  # fmt: skip


def message(connection, key, *, days_ago, state=LeaseState.DONE):
    return InboundMessage.objects.create(
        connection=connection, dedupe_key=key, body=b"{}", body_sha256="0", state=state,
        received_at=Now() - timedelta(days=days_ago),
    )  # fmt: skip


def test_old_decisions_go_but_each_customers_latest_stays(var_dir):
    customer = Customer.objects.create(reference="C1")
    other = Customer.objects.create(reference="C2")
    decision(customer, 1, days_ago=500)
    kept = [decision(customer, 2, days_ago=10), decision(other, 1, days_ago=500)]
    run("prune")
    assert set(Decision.objects.all()) == set(kept)
    assert InputSnapshot.objects.count() == 2


def test_bodies_go_before_the_ids_that_stop_a_replay(var_dir):
    connection = Connection.objects.create(slug="shop", name="Shop")
    message(connection, "expired", days_ago=100)
    old = message(connection, "old", days_ago=40)
    fresh = message(connection, "fresh", days_ago=1)
    waiting = message(connection, "waiting", days_ago=200, state=LeaseState.QUEUED)
    run("prune")
    bodies = dict(InboundMessage.objects.values_list("pk", "body"))
    assert bodies[old.pk] is None
    assert bytes(bodies[fresh.pk]) == bytes(bodies[waiting.pk]) == b"{}"
    assert set(bodies) == {old.pk, fresh.pk, waiting.pk}


def test_old_deliveries_and_their_attempts_go(var_dir):
    connection = Connection.objects.create(slug="shop", name="Shop")
    sent = OutboundMessage.objects.create(
        connection=connection, message_id="1", topic="t", body=b"{}", state=LeaseState.DONE,
        created_at=Now() - timedelta(days=100),
    )  # fmt: skip
    DeliveryAttempt.objects.create(message=sent, number=1, at=Now() - timedelta(days=100))
    run("prune")
    assert not OutboundMessage.objects.exists()
    assert not DeliveryAttempt.objects.exists()


def test_old_uploads_and_rejected_lines_go(var_dir):
    old, fresh = var_dir / "uploads" / "old", var_dir / "uploads" / "fresh"
    rejects = var_dir / "imports" / "1.rejects.csv"
    for folder in (old, fresh, rejects.parent):
        folder.mkdir(parents=True)
    (old / "orders.csv").write_text("private")
    rejects.write_text("private")
    long_ago = time.time() - 30 * 86_400
    for path in (old, rejects):
        os.utime(path, (long_ago, long_ago))
    run("prune")
    assert not old.exists()
    assert not rejects.exists()
    assert fresh.exists()


def test_after_a_rotation_the_old_key_is_not_needed(settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [old]
    customer = Customer.objects.create(reference="C1")
    contacts.write(customer, contacts.Contact(email="ann@example.com"))
    connection = Connection.objects.create(slug="shop", name="Shop", inbound_secret="whsec_x")
    answer = PrivacyRequest.objects.create(
        kind="export", source="test", subject='{"email": "ann"}', result=crypto.encrypt(gzip.compress(b"{}"))
    )
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    assert "1 contact keys, 0 pieces of files, 1 privacy requests" in run("rotate_keys")
    settings.FIELD_ENCRYPTION_KEYS = [new]
    answer.refresh_from_db()
    assert (answer.subject, privacy.answer(answer)) == ('{"email": "ann"}', b"{}")
    connection.refresh_from_db()
    assert connection.inbound_secret == "whsec_x"
    assert contacts.read(customer).email == "ann@example.com"
    settings.FIELD_ENCRYPTION_KEYS = [old]
    with pytest.raises(crypto.DecryptionError):
        contacts.read(customer)
