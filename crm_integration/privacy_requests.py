"""What CRMs tell and ask about people's data.

A request to erase a person or to say what is held about them starts by itself, as the privacy service's request with
its due date; adapters take only signed bodies of that shape for one. That a record was deleted, or a whole shop is to
be erased (shop_erasures.py), becomes an alert that staff answer, and an audit entry with ids alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from crm_integration.adapters.base import PrivacyKind, PrivacyRequest
from crm_integration.models import Connection, PushedRecord
from segmentation import alerts, contacts, identities, privacy
from segmentation.models import Alert, AuditEntry, Customer

BY_ITSELF: dict[PrivacyKind, str] = {
    PrivacyKind.ERASE: privacy.Kind.ERASE,
    PrivacyKind.EXPORT: privacy.Kind.EXPORT,
}
SOURCE_LENGTH = 64
# The law gives a month to answer; a deletion at the CRM asks for nothing by itself.
SENTENCES: dict[PrivacyKind, Promise] = {
    PrivacyKind.DELETED: _(
        "Customer %(customer)s was deleted in “%(connection)s”. Erase them here too if they asked for it."
    ),
    PrivacyKind.ERASE_SHOP: _(
        "“%(connection)s” asks to erase everything that came from this shop. Answer within 30 days: %(address)s"
    ),
}
NOT_URGENT = frozenset({PrivacyKind.DELETED})


def take(requests: Iterable[PrivacyRequest], *, connection: Connection, namespace: str) -> None:
    """Start what starts by itself; raise an alert for the rest about somebody who is known here. In a transaction."""
    for request in requests:
        if request.kind in BY_ITSELF:
            privacy.request(
                BY_ITSELF[request.kind],
                namespace,
                request.reference,
                request.email,
                source=f"webhook:{connection.slug}"[:SOURCE_LENGTH],
            )
            continue
        if request.kind is PrivacyKind.DELETED and request.reference:
            gone = PushedRecord.objects.filter(connection=connection, reference=request.reference)
            gone.filter(gone_at=None).update(gone_at=Now(), attempted=None)
        customer = _customer(request, namespace)
        if customer is None and request.kind is not PrivacyKind.ERASE_SHOP:
            continue
        _tell(request, connection, customer)


def _customer(request: PrivacyRequest, namespace: str) -> Customer | None:
    found = identities.resolve(namespace, request.reference) if request.reference else None
    if found is None and request.email:
        found = contacts.find_by_email(request.email)
    return found


def alert_key(kind: PrivacyKind, connection: Connection, customer: Customer | None = None) -> str:
    return f"privacy-{kind}-{connection.pk}-{customer.pk if customer else 'all'}"


def _tell(request: PrivacyRequest, connection: Connection, customer: Customer | None) -> None:
    key = alert_key(request.kind, connection, customer)
    if Alert.objects.filter(key=key, resolved_at=None).exists():
        return
    sentence = str(SENTENCES[request.kind]) % {
        "connection": connection.name,
        "customer": customer.reference if customer else "",
        "address": settings.SITE_URL.rstrip("/")
        + reverse("admin:crm_integration_connection_erase", args=[connection.pk]),
    }
    urgent = request.kind not in NOT_URGENT
    alerts.raise_once(key, sentence, severity=Alert.Severity.ERROR if urgent else Alert.Severity.WARNING)
    AuditEntry.record(
        f"privacy.{request.kind}", customer or connection, connection=connection.pk, source="webhook"
    )
