"""What staff should look at: raised once, closed when it is over."""

from __future__ import annotations

from django.utils import timezone

from segmentation import bulk
from segmentation.models import Alert


def raise_once(key: str, message: str, *, severity: str = Alert.Severity.WARNING) -> None:
    """Open an alert unless one with this key is open. Never fails a surrounding transaction."""
    if not Alert.objects.filter(key=key, resolved_at=None).exists():
        bulk.insert(Alert, ("key", "severity", "message"), [(key, severity, message)], on_conflict="ignore")


def resolve(key: str) -> None:
    Alert.objects.filter(key=key, resolved_at=None).update(resolved_at=timezone.now())
