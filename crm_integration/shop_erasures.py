"""Erasing whoever is known by one connection alone, when its shop asks: by staff, for a shop may come back."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from crm_integration import facts
from crm_integration.adapters import registry
from crm_integration.adapters.base import PrivacyKind
from crm_integration.models import Connection
from crm_integration.privacy_requests import alert_key
from segmentation import alerts, privacy
from segmentation.models import Alert, PrivacyRequest


def asked(connection: Connection) -> QuerySet[Alert]:
    """The alerts by which this connection's shop asked for it."""
    return Alert.objects.filter(key=alert_key(PrivacyKind.ERASE_SHOP, connection))


def start(connection: Connection, *, actor: Any, reason: str, source: str) -> PrivacyRequest:
    """The request, with its own date and alerts, takes the place of the alert."""
    namespace = facts.namespace_of(connection, registry.get(connection.adapter))
    with transaction.atomic():
        row = privacy.request_from(
            namespace, connection.slug, source=source, requested_by=actor, reason=reason
        )
        alerts.resolve(alert_key(PrivacyKind.ERASE_SHOP, connection))
    return row
