"""Test events: signed here as the vendor would, and taken in as any other message (crm_integration/door.py)."""

from __future__ import annotations

import secrets as random
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration import connections, door, refusals, schemes
from crm_integration.adapters import registry
from crm_integration.adapters.base import Delivery
from crm_integration.adapters.examples import Example
from crm_integration.connections import Door
from crm_integration.models import Connection
from crm_integration.schemes import Scheme
from crm_integration.signatures import BadSignature, InvalidSecret
from segmentation.models import AuditEntry


class CannotTry(Exception):
    """No test event can be sent; the text says what is missing."""


def send(connection: Connection, *, actor: Any = None) -> int:
    """Sign the kind's example with the connection's secret and bring it to the door; returns the message's id.

    Raises CannotTry, signatures.BadSignature (which is counted like that of any sender).
    """
    now = timezone.now()
    scheme, example, secret = _means(connection)
    key = f"test-{random.token_hex(8)}"
    body, headers = example.write(key=key, now=now)
    url = connections.hook_url(connection)
    try:
        signed = schemes.sign(
            scheme, body=body, secret=secret, url=url, message_id=key, now=int(now.timestamp())
        )
    except InvalidSecret as error:
        raise CannotTry(_("The signing secret cannot be used with this kind. Set it again.")) from error
    delivery = Delivery(
        body, {"content-type": b"application/json", **headers, **signed}, url, connection.options
    )
    try:
        received = door.take(connection, delivery, now=now)
    except BadSignature as refusal:
        refusals.count(connection, refusal.reason, delivery.headers)
        raise
    if received is None:
        raise CannotTry(_("This kind of CRM has no test event."))
    AuditEntry.record("connection.tried", connection, actor=actor, message=received.message_id)
    return received.message_id


def problem_with(connection: Connection) -> str:
    """Why no test event can be sent now, or nothing."""
    try:
        _means(connection)
    except CannotTry as problem:
        return str(problem)
    return ""


def _means(connection: Connection) -> tuple[Scheme, Example, str]:
    if not connection.is_active or not connection.accepts_inbound:
        raise CannotTry(_("This connection does not receive events. Switch it on first."))
    kind = registry.ADAPTERS.get(connection.adapter)
    example = kind.example if kind is not None else None
    if kind is None or example is None:
        raise CannotTry(_("This kind of CRM has no test event."))
    scheme = kind.scheme_of(connection.options)
    if scheme is None:
        raise CannotTry(_("Say first how the sender signs."))
    secret = next(iter(connections.valid_secrets(connection, Door.INBOUND, now=timezone.now())), "")
    if not secret:
        raise CannotTry(_("Set the signing secret first."))
    return scheme, example, secret
