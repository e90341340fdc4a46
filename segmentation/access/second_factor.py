"""Codes of an authenticator app (TOTP, RFC 6238: SHA-1, 30 seconds, 6 digits) and recovery codes that count once."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from datetime import datetime
from typing import Any

import segno
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q

from segmentation import crypto
from segmentation.models import AuditEntry, RecoveryCode, SecondFactor

ISSUER = "Tierwise"
SECRET_BYTES = 20
STEP_SECONDS = 30
DIGITS = 6
# Clocks of telephones are off; one step either way is what RFC 6238 (5.2) recommends at most.
DRIFT_STEPS = 1
RECOVERY_CODES = 10
# No letter or digit that is read as another one.
_SIGNS = "abcdefghjkmnpqrstuvwxyz23456789"
EVERYONE = "everyone"
SUPERUSERS = "superusers"


class FactorRefused(Exception):
    """Cannot be done as things stand; the caller says why."""


def of(user: Any) -> SecondFactor | None:
    """The person's confirmed second factor; without a query where the backend has read it along."""
    try:
        factor: SecondFactor = user.second_factor
    except SecondFactor.DoesNotExist:
        return None
    return factor if factor.confirmed_at is not None else None


def stamp(user: Any) -> str:
    """Names the factor that is in force, as opposed to any later one; empty without one."""
    factor = of(user)
    return factor.confirmed_at.isoformat() if factor is not None and factor.confirmed_at is not None else ""


def is_required(user: Any) -> bool:
    """By SECOND_FACTOR_REQUIRED: “everyone”, “superusers”, or names of roles (access/checks.py knows them)."""
    said = {word.casefold() for word in settings.SECOND_FACTOR_REQUIRED}
    if not said:
        return False
    if EVERYONE in said or (SUPERUSERS in said and user.is_superuser):
        return True
    held = Group.objects.filter(user=user).values_list("name", flat=True)
    return any(name.casefold() in said for name in held)


def begin(user: Any) -> SecondFactor:
    """A new secret to set up: one that somebody else with the password has seen must not come into force.

    Raises FactorRefused when one is in force.
    """
    with transaction.atomic():
        factor, _made = SecondFactor.objects.select_for_update().get_or_create(user=user)
        if factor.confirmed_at is not None:
            raise FactorRefused
        factor.secret = base64.b32encode(os.urandom(SECRET_BYTES)).decode()
        factor.save(update_fields=["secret"])
    return factor


def address(factor: SecondFactor) -> str:
    """otpauth://…, as apps read it from a QR code."""
    return _totp(factor).get_provisioning_uri(str(factor.user.get_username()), ISSUER)


def picture(factor: SecondFactor) -> str:
    """The QR code as an inline SVG, drawn here: the secret reaches no other machine."""
    drawn: str = segno.make(address(factor), error="m").svg_inline(
        scale=4, border=4, light="#fff", dark="#000"
    )
    return drawn


def confirm(user: Any, code: str, *, now: datetime) -> list[str]:
    """Put it in force with a first right code; returns the recovery codes, which nothing else will ever show.

    Raises FactorRefused when the code is wrong, or the factor is in force already.
    """
    with transaction.atomic():
        factor = SecondFactor.objects.select_for_update().filter(user=user, confirmed_at=None).first()
        if factor is None or not _takes(factor, code, now):
            raise FactorRefused
        factor.confirmed_at = now
        factor.save(update_fields=["confirmed_at"])
        AuditEntry.record("second_factor.set_up", user, actor=user)
        return _new_codes(factor)


def verify(user: Any, code: str, *, now: datetime) -> str:
    """“app” or “recovery” when the code opens, else nothing. A code opens once."""
    with transaction.atomic():
        factor = (
            SecondFactor.objects.select_for_update().filter(user=user, confirmed_at__isnull=False).first()
        )
        if factor is None:
            return ""
        if _takes(factor, code, now):
            return "app"
        used = RecoveryCode.objects.filter(factor=factor, digest=_digest(code), used_at=None).update(
            used_at=now
        )
        if not used:
            return ""
        AuditEntry.record("second_factor.recovery_used", user, actor=user, left=codes_left(factor))
        return "recovery"


def renew_codes(user: Any) -> list[str]:
    """New recovery codes; the old ones end. Raises FactorRefused without a factor."""
    with transaction.atomic():
        factor = (
            SecondFactor.objects.select_for_update().filter(user=user, confirmed_at__isnull=False).first()
        )
        if factor is None:
            raise FactorRefused
        AuditEntry.record("second_factor.codes_renewed", user, actor=user)
        return _new_codes(factor)


def drop(user: Any, *, by: Any) -> bool:
    """Take it away: by the person, by who looks after people, or by the operator (`by` is None)."""
    with transaction.atomic():
        gone = SecondFactor.objects.filter(user=user).delete()[0]
        if gone:
            AuditEntry.record("second_factor.dropped", user, actor=by)
    return bool(gone)


def codes_left(factor: SecondFactor) -> int:
    return factor.recovery_codes.filter(used_at=None).count()


def reencrypt() -> int:
    """Under the newest key; returns how many."""
    done = 0
    for pk in SecondFactor.objects.filter(~Q(secret="")).values_list("pk", flat=True):
        with transaction.atomic():
            factor = SecondFactor.objects.select_for_update().filter(pk=pk).first()
            if factor is not None:
                factor.save(update_fields=["secret"])
                done += 1
    return done


def _totp(factor: SecondFactor) -> TOTP:
    return TOTP(base64.b32decode(factor.secret), DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303  # as apps expect it


def _takes(factor: SecondFactor, code: str, now: datetime) -> bool:
    """Whether the code is of now or a neighbouring step, newer than any taken; its step is noted on a locked row."""
    digits = "".join(code.split())
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdecimal():
        return False
    present, totp = int(now.timestamp()) // STEP_SECONDS, _totp(factor)
    for step in range(present - DRIFT_STEPS, present + DRIFT_STEPS + 1):
        if step > factor.last_step and hmac.compare_digest(
            totp.generate(step * STEP_SECONDS), digits.encode()
        ):
            factor.last_step = step
            factor.save(update_fields=["last_step"])
            return True
    return False


def _new_codes(factor: SecondFactor) -> list[str]:
    factor.recovery_codes.all().delete()
    codes = [
        "-".join("".join(secrets.choice(_SIGNS) for _ in range(5)) for _ in range(3))
        for _ in range(RECOVERY_CODES)
    ]
    RecoveryCode.objects.bulk_create(RecoveryCode(factor=factor, digest=_digest(code)) for code in codes)
    return codes


def _digest(code: str) -> str:
    """A keyed hash suffices: 15 random signs out of 31 are 74 bits."""
    plain = "".join(sign for sign in code.casefold() if sign.isalnum())
    return crypto.pseudonym("recovery code", plain)
