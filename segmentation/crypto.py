"""Encryption at rest, blind indexes and pseudonyms. Keys come from settings; nothing here is logged."""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class DecryptionError(Exception):
    """The stored bytes do not open with any configured key (key lost, or data of an erased customer)."""


@lru_cache(maxsize=4)
def _master(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def master() -> MultiFernet:
    return _master(tuple(settings.FIELD_ENCRYPTION_KEYS))


def encrypt(plain: bytes) -> bytes:
    return master().encrypt(plain)


def decrypt(token: bytes) -> bytes:
    """Raises DecryptionError when no configured key fits."""
    try:
        return master().decrypt(bytes(token))
    except InvalidToken as error:
        raise DecryptionError("no configured key opens this value; restore FIELD_ENCRYPTION_KEYS") from error


def rotate(token: bytes) -> bytes:
    """Re-encrypt under the newest key without exposing the plain text to the caller."""
    return master().rotate(bytes(token))


def new_data_key() -> bytes:
    """A key for one customer's contact data and texts, wrapped by the master key. Erasure destroys it."""
    return encrypt(Fernet.generate_key())


def seal(data_key: bytes, plain: bytes) -> bytes:
    return Fernet(decrypt(data_key)).encrypt(plain)


def unseal(data_key: bytes, token: bytes) -> bytes:
    try:
        return Fernet(decrypt(data_key)).decrypt(bytes(token))
    except InvalidToken as error:
        raise DecryptionError("this value was sealed under another customer key") from error


def blind_index(kind: str, value: str) -> str:
    """64 hex characters: HMAC-SHA256 of a normalised value, so equality can be searched without the text."""
    message = f"{kind}:{value.strip().casefold()}".encode()
    return hmac.digest(settings.PSEUDONYM_KEY, message, "sha256").hex()


def pseudonym(kind: str, value: str) -> str:
    """64 hex characters: HMAC-SHA256 of exactly this value (ids may differ in case alone)."""
    return hmac.digest(settings.PSEUDONYM_KEY, f"{kind}:{value}".encode(), "sha256").hex()


class EncryptedTextField(models.TextField):
    """Text that is encrypted in the database. Empty text stays empty; it cannot be filtered on."""

    def get_prep_value(self, value: Any) -> str | None:
        if value in (None, ""):
            return value
        return encrypt(str(value).encode()).decode("ascii")

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        if value in (None, ""):
            return value
        return decrypt(value.encode("ascii")).decode()
