"""Tokens of the REST door: made here, shown once, kept as hashes, counted by the minute, revoked."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from crm_integration.models import ApiToken, Connection, Scope
from crm_integration.models.connections import SECRETS
from crm_integration.models.tokens import PER_MINUTE, WRITING
from segmentation.models import AuditEntry

WINDOW_SECONDS = 60
# The adapter whose format the REST door speaks; a token writes as a connection of this kind.
WRITES_AS = "standard"
_FORM = re.compile(r"tw_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class TokenProblem(ValueError):
    """Such a token cannot be made; the message says why."""


def issue(
    *,
    name: str,
    scopes: Iterable[str],
    connection: Connection | None = None,
    expires_at: datetime | None = None,
    per_minute: int = PER_MINUTE,
    by: Any = None,
) -> tuple[ApiToken, str]:
    """Make a token; returns it with its text, which nothing keeps. Raises TokenProblem."""
    token = ApiToken(
        name=name,
        scopes=list(scopes),
        connection=connection,
        expires_at=expires_at,
        per_minute=per_minute,
    )
    return token, save_new(token, by=by)


def save_new(token: ApiToken, *, by: Any = None) -> str:
    """Store an unsaved token under a fresh secret and return its text. Raises TokenProblem."""
    problem = problem_with(token.scopes, token.connection)
    if problem:
        raise TokenProblem(problem)
    token.scopes = sorted(set(token.scopes))
    token.prefix = "".join(secrets.choice(_LETTERS) for _letter in range(12))
    text = f"tw_{token.prefix}_{secrets.token_urlsafe(32)}"
    token.secret_sha256 = _digest(text)
    token.created_by = by if getattr(by, "is_authenticated", False) else None
    with transaction.atomic():
        token.save(force_insert=True)
        AuditEntry.record(
            "api_token.issued", token, actor=by, scopes=token.scopes, connection=token.connection_id
        )
    return text


def problem_with(scopes: Iterable[str], connection: Connection | None) -> str:
    """Why a token cannot have these scopes with this connection, or nothing."""
    asked = set(scopes)
    if not asked:
        return _("Choose at least one thing that the token may do.")
    if unknown := asked - set(Scope.values):
        return _("These are no scopes: %(names)s.") % {"names": ", ".join(sorted(unknown))}
    if asked & WRITING and (connection is None or connection.adapter != WRITES_AS):
        return _("To write, a token needs a connection of the kind “Standard Webhooks (generic)”.")
    return ""


def revoke(token: ApiToken, *, by: Any = None) -> bool:
    """Stop a token at once and for good; False when it was revoked before."""
    with transaction.atomic():
        stopped = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now())
        if stopped:
            AuditEntry.record("api_token.revoked", token, actor=by)
    token.refresh_from_db()
    return bool(stopped)


def find(text: str) -> ApiToken | None:
    """The token with this text, whatever its state; one query, none for what cannot be a token."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    rows = ApiToken.objects.select_related("connection").defer(*(f"connection__{name}" for name in SECRETS))
    token = rows.filter(prefix=form[1]).first()
    if token is None or not hmac.compare_digest(token.secret_sha256, _digest(text)):
        return None
    return token


def state_problem(token: ApiToken, *, now: datetime) -> str:
    """Why the token no longer opens anything, or nothing."""
    if token.revoked_at is not None:
        return _("The token was revoked.")
    if token.expires_at is not None and token.expires_at <= now:
        return _("The token has expired.")
    return ""


def take_turn(token: ApiToken, *, now: datetime) -> int:
    """Count a request; returns 0, or the seconds to wait when this minute's requests are used up.

    One conditional UPDATE: processes that answer at once share the count, and none gives away more than there is.
    """
    window, second = divmod(int(now.timestamp()), WINDOW_SECONDS)
    present = Q(window=window)
    counted = ApiToken.objects.filter(~present | Q(used__lt=F("per_minute")), pk=token.pk).update(
        used=Case(When(present, then=F("used") + 1), default=Value(1)), window=window, last_used_at=now
    )
    return 0 if counted else WINDOW_SECONDS - second


def _digest(text: str) -> str:
    """SHA-256 without salt or stretching: the text holds 256 random bits, which nobody guesses."""
    return hashlib.sha256(text.encode()).hexdigest()
