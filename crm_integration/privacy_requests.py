"""What CRMs tell and ask about people's data: each becomes an alert that staff answer, and an audit entry with ids alone.

Nothing is erased here. The topic of such a message is often an unsigned header, so a person decides; `take` is the one
place where a request with a due date, or an automatic erasure, would start.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from crm_integration.adapters.base import PrivacyKind, PrivacyRequest
from crm_integration.models import Connection
from segmentation import alerts, contacts, identities
from segmentation.models import Alert, AuditEntry, Customer

# The law gives a month to answer; a deletion at the CRM asks for nothing by itself.
SENTENCES: dict[PrivacyKind, Promise] = {
    PrivacyKind.ERASE: _("“%(connection)s” asks to erase customer %(customer)s. Answer within 30 days."),
    PrivacyKind.EXPORT: _(
        "“%(connection)s” asks for everything stored about customer %(customer)s. Answer within 30 days."
    ),
    PrivacyKind.DELETED: _(
        "Customer %(customer)s was deleted in “%(connection)s”. Erase them here too if they asked for it."
    ),
    PrivacyKind.ERASE_SHOP: _(
        "“%(connection)s” asks to erase everything that came from this shop. Answer within 30 days."
    ),
}
NOT_URGENT = frozenset({PrivacyKind.DELETED})


def take(requests: Iterable[PrivacyRequest], *, connection: Connection, namespace: str) -> None:
    """Raise an alert for each request about somebody who is known here. Needs a transaction."""
    for request in requests:
        customer = _customer(request, namespace)
        if customer is None and request.kind is not PrivacyKind.ERASE_SHOP:
            continue
        _tell(request, connection, customer)


def _customer(request: PrivacyRequest, namespace: str) -> Customer | None:
    found = identities.resolve(namespace, request.reference) if request.reference else None
    if found is None and request.email:
        found = contacts.find_by_email(request.email)
    return found


def _tell(request: PrivacyRequest, connection: Connection, customer: Customer | None) -> None:
    key = f"privacy-{request.kind}-{connection.pk}-{customer.pk if customer else 'all'}"
    if Alert.objects.filter(key=key, resolved_at=None).exists():
        return
    sentence = str(SENTENCES[request.kind]) % {
        "connection": connection.name,
        "customer": customer.reference if customer else "",
    }
    urgent = request.kind not in NOT_URGENT
    alerts.raise_once(key, sentence, severity=Alert.Severity.ERROR if urgent else Alert.Severity.WARNING)
    AuditEntry.record(
        f"privacy.{request.kind}", customer or connection, connection=connection.pk, source="webhook"
    )
