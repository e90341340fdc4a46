"""Whether a total may be promised: levels move with the season, so a season like it must have been seen before."""

from __future__ import annotations

from datetime import date, timedelta

from django.db.models import Min
from django.utils.translation import gettext as _

from segmentation.kinds import EventKind
from segmentation.models import Event, Shop

SEASON = timedelta(days=365)
BEHIND = timedelta(days=180)


def first_order_day(shop: Shop) -> date | None:
    orders = Event.objects.filter(kind=EventKind.ORDER_PLACED, superseded_at__isnull=True)
    first = orders.aggregate(first=Min("occurred_at"))["first"]
    return first.astimezone(shop.zone).date() if first else None


def not_promised(day: date, shop: Shop) -> str:
    """Why totals as of `day` are not promised, or "".

    Needed: a day one season earlier with 180 days of history behind it, whose labels are then complete.
    """
    first = first_order_day(shop)
    needed = day - SEASON - BEHIND
    if first is not None and first <= needed:
        return ""
    return _(
        "Totals as of %(day)s are not promised: that takes orders since %(needed)s, a whole season earlier with 180 "
        "days before it. Read the interval, not the sum."
    ) % {"day": day.isoformat(), "needed": needed.isoformat()}
