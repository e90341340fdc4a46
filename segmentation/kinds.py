"""The kinds of customer behaviour an event can record."""

from __future__ import annotations

from enum import IntEnum


class EventKind(IntEnum):
    """Stored as a small integer; the numbers are a contract and never reused."""

    ORDER_PLACED = 1
    ORDER_CHANGED = 2
    ORDER_CANCELLED = 3
    REFUNDED = 4
    VIEWED = 10
    CART_ADDED = 11
    CART_REMOVED = 12
    FAVOURITED = 13
    SEARCHED = 14
    REVIEWED = 20
    TICKET_OPENED = 30
    TICKET_CLOSED = 31
    COMPLAINED = 32
    OFFER_SENT = 40
    OFFER_REDEEMED = 41
    SIGNED_UP = 50

    @property
    def slug(self) -> str:
        return self.name.lower()

    @classmethod
    def from_slug(cls, slug: str) -> EventKind:
        """Return the kind called `slug`; raises ValueError naming the known kinds."""
        try:
            return cls[slug.strip().upper()]
        except KeyError:
            known = ", ".join(kind.slug for kind in cls)
            raise ValueError(f"unknown event kind {slug!r}; known kinds: {known}") from None
