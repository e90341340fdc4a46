"""Connections and their secrets: generated here, shown once, replaced with a day of grace."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import addresses
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter
from crm_integration.models import Connection
from segmentation import alerts
from segmentation.models import Alert, AuditEntry

log = structlog.get_logger(__name__)

GRACE = timedelta(hours=24)
GIVE_UP_AFTER = timedelta(days=5)
# The breaker: after so many failures in a row nothing is tried for a while, which doubles with each failed probe.
FAILURES_BEFORE_REST = 3
FIRST_REST = timedelta(seconds=15)
LONGEST_REST = timedelta(minutes=10)
# How long one probe keeps the other workers away.
PROBE = timedelta(seconds=30)


class Door(StrEnum):
    """Which of a connection's two secrets: of what it sends to us, or of what we send to it."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


def receiving(slug: str) -> QuerySet[Connection]:
    """The active connection that may send to `slug`, if there is one."""
    return Connection.objects.filter(slug=slug, is_active=True, accepts_inbound=True)


def hook_url(connection: Connection) -> str:
    """The address to paste into the CRM."""
    return settings.SITE_URL.rstrip("/") + reverse("receive_webhook", args=[connection.slug])


def is_local() -> bool:
    """Whether the addresses to paste lead to this machine alone."""
    return addresses.is_loopback(urlsplit(settings.SITE_URL).hostname or "")


def set_secret(connection: Connection, door: Door, *, secret: str = "", actor: Any = None) -> str:
    """Put a new secret in place and return it: a fresh one, or `secret` where the other side dictates it.

    The one it replaces stays valid for 24 hours. Raises signatures.InvalidSecret.
    """
    fresh = secret.strip() or _new_secret(connection, door)
    _check_secret(connection, door, fresh)
    with transaction.atomic():
        row = Connection.objects.select_for_update().get(pk=connection.pk)
        old = getattr(row, f"{door}_secret")
        changes: dict[str, Any] = {f"{door}_secret": fresh, f"{door}_secret_previous": old}
        changes[_until(door)] = timezone.now() + GRACE if old else None
        _save(row, changes)
        AuditEntry.record(
            "connection.secret_rotated" if old else "connection.secret_set", row, actor=actor, door=door.value
        )
    connection.refresh_from_db()
    return fresh


def _scheme(connection: Connection, door: Door) -> Adapter:
    """Whose secrets these are: what comes in is signed as the vendor does, what goes out by Standard Webhooks."""
    try:
        return registry.get(connection.adapter if door is Door.INBOUND else registry.STANDARD)
    except registry.UnknownAdapter:
        return registry.get(registry.STANDARD)


def _new_secret(connection: Connection, door: Door) -> str:
    return _scheme(connection, door).new_secret()


def _check_secret(connection: Connection, door: Door, secret: str) -> None:
    _scheme(connection, door).check_secret(secret)


def save_settings(
    connection: Connection,
    *,
    options: dict[str, Any],
    credentials: dict[str, str],
    actor: Any = None,
) -> None:
    """Keep what a kind needs. Credentials that are not given stay as they are; they are encrypted and never shown."""
    with transaction.atomic():
        kept = {**connection.credentials, **{name: value for name, value in credentials.items() if value}}
        _save(connection, {"options": options, "api_credentials": json.dumps(kept) if kept else ""})
        AuditEntry.record(
            "connection.settings_changed",
            connection,
            actor=actor,
            fields=sorted([*options, *(name for name, value in credentials.items() if value)]),
        )


def save_push(connection: Connection, *, push: dict[str, Any], actor: Any = None) -> None:
    """Keep what is written to the CRM and under which names. A name that changes is written, and the old one emptied."""
    if connection.push == push:
        return
    with transaction.atomic():
        before = connection.push
        _save(connection, {"push": push})
        AuditEntry.record(
            "connection.push_changed", connection, actor=actor, before={"push": before}, after={"push": push}
        )


def end_grace(connection: Connection, door: Door, *, actor: Any = None) -> None:
    """Stop accepting (or signing with) the replaced secret now, for one that leaked."""
    with transaction.atomic():
        _save(connection, {f"{door}_secret_previous": "", _until(door): None})
        AuditEntry.record("connection.previous_secret_dropped", connection, actor=actor, door=door.value)


def valid_secrets(connection: Connection, door: Door, *, now: datetime) -> list[str]:
    """The secrets that count now, the newest first; empty when none is set. What holds several is taken apart."""
    secrets = [getattr(connection, f"{door}_secret")]
    until = getattr(connection, _until(door))
    if until is not None and now < until:
        secrets.append(getattr(connection, f"{door}_secret_previous"))
    return [secret for held in secrets for secret in held.split()]


def uses_inbound_secret(connection: Connection) -> bool:
    """Whether anything that it sends is to be signed."""
    return connection.accepts_inbound or (connection.reads_queue and connection.queue_must_sign)


def needs_outbound_secret(connection: Connection) -> bool:
    """A broker has logins of its own; what goes over the web must be signed."""
    return bool(connection.sends_outbound) and connection.outbound_via == Connection.Via.HTTP


def uses_outbound_secret(connection: Connection) -> bool:
    """A CRM's own API has credentials of its own; what goes elsewhere may be signed."""
    return bool(connection.sends_outbound) and connection.outbound_via != Connection.Via.VENDOR


def has_secret(connection: Connection, door: Door) -> bool:
    return bool(getattr(connection, f"{door}_secret"))


def record_success(connection: Connection) -> None:
    """A delivery arrived: the connection is well again."""
    if connection.failing_since is not None or connection.failures or connection.rests_until is not None:
        Connection.objects.filter(pk=connection.pk).update(failing_since=None, failures=0, rests_until=None)


def record_failure(
    connection: Connection, *, now: datetime, wait: timedelta | None = None, is_partial: bool = False
) -> None:
    """A delivery failed: after a few in a row the connection rests, and after five days without a success it stops.

    wait: how long the receiver asks to be left alone. is_partial: something of the same attempt arrived.
    """
    rows = Connection.objects.filter(pk=connection.pk)
    if is_partial:
        rows.update(failing_since=None, failures=0, rests_until=Now() + wait if wait else None)
        return
    rows.filter(failing_since__isnull=True).update(failing_since=now)
    rows.update(failures=F("failures") + 1)
    rest = max(rest_after(connection.failures + 1), wait or timedelta(0))
    if rest:
        rows.update(rests_until=Now() + rest)
        log.info("connection.rests", connection_id=connection.pk, seconds=rest.total_seconds())
    since = connection.failing_since
    if since is not None and now - since >= GIVE_UP_AFTER:
        stop_sending(connection, reason=_("nothing could be delivered since %(day)s") % {"day": since.date()})


def rest_after(failures: int) -> timedelta:
    """The breaker: how long nothing is tried after so many failures in a row, ±20 %."""
    if failures < FAILURES_BEFORE_REST:
        return timedelta(0)
    planned = min(FIRST_REST * 2 ** min(failures - FAILURES_BEFORE_REST, 10), LONGEST_REST)
    return planned * random.uniform(0.8, 1.2)


def may_try(connection: Connection) -> bool:
    """Whether this worker may send: to a connection that has rested, one worker alone sends a probe."""
    if connection.rests_until is None:
        return True
    rested = Connection.objects.filter(pk=connection.pk, rests_until__lte=Now())
    return bool(rested.update(rests_until=Now() + PROBE))


def wake(connection: Connection) -> None:
    """Somebody wants it tried now."""
    Connection.objects.filter(pk=connection.pk).update(rests_until=None)


def stop_sending(connection: Connection, *, reason: str) -> None:
    """Stop deliveries, visibly; messages that wait stay and go out when staff switch it on again."""
    stopped = Connection.objects.filter(pk=connection.pk, sends_outbound=True).update(
        sends_outbound=False, disabled_reason=reason[:200]
    )
    if not stopped:
        return
    message = _("Deliveries to “%(connection)s” have stopped: %(reason)s") % {
        "connection": connection.name,
        "reason": reason,
    }
    alerts.raise_once(_alert_key(connection), message, severity=Alert.Severity.ERROR)
    AuditEntry.record("connection.stopped", connection, reason=reason)
    log.warning("connection.stopped", connection_id=connection.pk)


def note_switched_on(connection: Connection) -> None:
    """Staff switched deliveries on again: forget the trouble."""
    Connection.objects.filter(pk=connection.pk).update(
        failing_since=None, disabled_reason="", failures=0, rests_until=None
    )
    alerts.resolve(_alert_key(connection))


def _alert_key(connection: Connection) -> str:
    return f"connection-stopped-{connection.pk}"


def _until(door: Door) -> str:
    return "previous_secret_until" if door is Door.INBOUND else "outbound_previous_until"


def _save(connection: Connection, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        setattr(connection, name, value)
    connection.save(update_fields=list(changes))
