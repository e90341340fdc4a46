"""Counting what the door turned away, without keeping any of it."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from crm_integration.models import Connection, RefusedDelivery
from crm_integration.signatures import Reason

MAX_NAMES = 40
MAX_NAME = 64


def count(connection: Connection, reason: Reason, header_names: Iterable[str] = ()) -> None:
    """Add one to the day's count of this reason; the header names of the latest such delivery are kept."""
    now = timezone.now()
    names = sorted({name.lower()[:MAX_NAME] for name in header_names})[:MAX_NAMES]
    row = RefusedDelivery.objects.filter(connection=connection, day=now.date(), reason=reason.value)
    changes = {"count": F("count") + 1, "last_at": now, "header_names": names}
    if row.update(**changes):
        return
    try:
        with transaction.atomic():
            RefusedDelivery.objects.create(
                connection=connection,
                day=now.date(),
                reason=reason.value,
                count=1,
                header_names=names,
                last_at=now,
            )
    except IntegrityError:
        # Another request counted the first one of today at the same moment.
        row.update(**changes)
