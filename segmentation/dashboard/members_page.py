"""Who was in a segment on a day, with since when and why, and what changed up to today."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from segmentation import segment_history
from segmentation.dashboard import words
from segmentation.models import MembershipCause, Segment, Shop

SHOWN = 200


@dataclass(frozen=True)
class Row:
    customer_id: int
    reference: str
    since: str
    because: str
    until: str
    left_because: str


@dataclass(frozen=True)
class MembersView:
    """`more`: members beyond those shown. entered, left: from the end of the day to the end of today."""

    day: date
    today: date
    day_words: str
    count: str
    more: int
    entered: str
    left: str
    rows: tuple[Row, ...]


def build(segment: Segment, day: date | None) -> MembersView:
    shop = Shop.get()
    today = shop.today()
    on = min(day or today, today)
    count = segment_history.count_on(segment, on)
    entered, left = segment_history.moves_between(segment, on, today)
    rows = tuple(_row(stay, shop) for stay in segment_history.stays_on(segment, on, limit=SHOWN))
    return MembersView(
        day=on,
        today=today,
        day_words=words.day(on),
        count=words.number(count),
        more=max(count - SHOWN, 0),
        entered=words.number(entered),
        left=words.number(left),
        rows=rows,
    )


def _row(stay: segment_history.Stay, shop: Shop) -> Row:
    return Row(
        stay.customer_id,
        stay.reference,
        words.day(stay.entered_at, shop, short=True),
        str(MembershipCause(stay.entered_by).label),
        words.day(stay.left_at, shop, short=True) if stay.left_at else "",
        str(MembershipCause(stay.left_by).label) if stay.left_by else "",
    )
