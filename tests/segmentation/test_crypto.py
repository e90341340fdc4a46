"""Contact data and secrets are unreadable in the database, and erasing a customer's key erases their words."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from segmentation import crypto


def test_what_is_encrypted_opens_again():
    assert crypto.decrypt(crypto.encrypt(b"whsec_secret")) == b"whsec_secret"


def test_an_older_key_still_opens_and_rotation_moves_to_the_newest(settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [old]
    token = crypto.encrypt(b"secret")
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    rotated = crypto.rotate(token)
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert crypto.decrypt(rotated) == b"secret"
    with pytest.raises(crypto.DecryptionError):
        crypto.decrypt(token)


def test_a_text_opens_only_with_its_customers_key():
    mine, other = crypto.new_data_key(), crypto.new_data_key()
    sealed = crypto.seal(mine, b"late delivery")
    assert crypto.unseal(mine, sealed) == b"late delivery"
    with pytest.raises(crypto.DecryptionError):
        crypto.unseal(other, sealed)


def test_a_blind_index_ignores_case_and_space_and_hides_the_text():
    index = crypto.blind_index("email", "Ann@Example.com ")
    assert index == crypto.blind_index("email", "ann@example.com")
    assert index != crypto.blind_index("phone", "ann@example.com")
    assert len(index) == 64
    assert "ann" not in index


def test_a_secret_field_is_encrypted_in_the_database(db):
    from django.db import connection

    from crm_integration.models import Connection

    stored = Connection.objects.create(slug="shop", name="Shop", inbound_secret="whsec_plain")
    with connection.cursor() as cursor:
        cursor.execute("SELECT inbound_secret FROM crm_integration_connection")
        raw = cursor.fetchone()[0]
    assert "plain" not in raw
    stored.refresh_from_db()
    assert stored.inbound_secret == "whsec_plain"
