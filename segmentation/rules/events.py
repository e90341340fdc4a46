"""Questions about what a customer did: which events count, and what is measured of them.

    {"event": {"kind": ["order_placed"], "category": ["toys"], "amount": {"op": ">", "value": 20}, "within_days": 30},
     "op": ">=", "value": 2}

is "ordered at least 2 times from toys over 20 within 30 days". The question becomes a field whose name holds all of it,
so that it is a column of the decision frame like any other: compiled, explained and kept in snapshots the same way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from django.utils.functional import lazy
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation.kinds import EventKind
from segmentation.rules import event_products
from segmentation.rules.event_products import COMPARED, Compared, ProductPick, plain_number
from segmentation.rules.operators import FieldType, Words

PREFIX: Final = "event."


class Measure(StrEnum):
    """What is asked of the events that count. Days are days of the shop; amounts are in its currency."""

    COUNT = "count"
    DAYS = "days"
    AMOUNT = "amount"
    FIRST = "first"
    LAST = "last"
    LAST_AMOUNT = "last_amount"
    LAST_CATEGORY = "last_category"


@dataclass(frozen=True)
class Measured:
    """`words` say a measure of events in a sentence; `always`: it is 0 and not missing when nothing counts."""

    type: FieldType
    unit: str
    words: Words
    always: bool = False


MEASURES: Final[dict[Measure, Measured]] = {
    Measure.COUNT: Measured(FieldType.NUMBER, "events", _("How often “%(events)s”"), always=True),
    Measure.DAYS: Measured(FieldType.NUMBER, "days", _("Days with “%(events)s”"), always=True),
    Measure.AMOUNT: Measured(FieldType.NUMBER, "money", _("Amount of all “%(events)s”"), always=True),
    Measure.FIRST: Measured(FieldType.DATE, "", _("First day of “%(events)s”")),
    Measure.LAST: Measured(FieldType.DATE, "", _("Last day of “%(events)s”")),
    Measure.LAST_AMOUNT: Measured(FieldType.NUMBER, "money", _("Amount of the last “%(events)s”")),
    Measure.LAST_CATEGORY: Measured(FieldType.TAGS, "", _("Categories of the last “%(events)s”")),
}
# What is asked, before the events are chosen.
MEASURE_WORDS: Final[dict[Measure, Words]] = {
    Measure.COUNT: _("How often the customer did something"),
    Measure.DAYS: _("On how many days"),
    Measure.AMOUNT: _("Amount of all such events"),
    Measure.FIRST: _("First day"),
    Measure.LAST: _("Last day"),
    Measure.LAST_AMOUNT: _("Amount of the last one"),
    Measure.LAST_CATEGORY: _("Categories of the last one"),
}
# What a customer may be asked about; a change of an order is part of the order.
KINDS: Final[dict[str, Words]] = {
    EventKind.ORDER_PLACED.slug: _("ordered"),
    EventKind.ORDER_CANCELLED.slug: _("cancelled an order"),
    EventKind.REFUNDED.slug: _("returned something"),
    EventKind.VIEWED.slug: _("looked at a product"),
    EventKind.CART_ADDED.slug: _("put something in the cart"),
    EventKind.CART_REMOVED.slug: _("took something out of the cart"),
    EventKind.FAVOURITED.slug: _("favourited"),
    EventKind.SEARCHED.slug: _("searched"),
    EventKind.REVIEWED.slug: _("reviewed"),
    EventKind.TICKET_OPENED.slug: _("opened a support ticket"),
    EventKind.TICKET_CLOSED.slug: _("had a support ticket closed"),
    EventKind.COMPLAINED.slug: _("complained"),
    EventKind.OFFER_SENT.slug: _("was sent an offer"),
    EventKind.OFFER_REDEEMED.slug: _("used an offer"),
    EventKind.SIGNED_UP.slug: _("signed up"),
}


@dataclass(frozen=True)
class Picked:
    """Which events count, whenever they were. Empty means any.

    categories: at least one of these is among the event's products. amount: of the whole event, in major units.
    product: what one line of the event must be (rules/event_products.py).
    """

    kinds: tuple[str, ...]
    categories: tuple[str, ...] = ()
    amount: Compared | None = None
    rating: Compared | None = None
    discounted: bool | None = None
    product: ProductPick | None = None


@dataclass(frozen=True)
class EventQuery:
    """within_days N: on one of the last N days, today included. older_than_days N: more than N days ago.

    first_day, last_day: both included. followed_by: only events after which such a one came (or none, for
    not_followed_by), at any time up to now.
    """

    picked: Picked
    measure: Measure = Measure.COUNT
    within_days: int | None = None
    older_than_days: int | None = None
    first_day: date | None = None
    last_day: date | None = None
    followed_by: Picked | None = None
    not_followed_by: Picked | None = None

    @property
    def name(self) -> str:
        """The column of the decision frame; `spec_of` reads it back."""
        return PREFIX + json.dumps(to_json(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def every_picked(self) -> tuple[Picked, ...]:
        """The events that count, and those that must or must not come afterwards."""
        followers = [one for one in (self.followed_by, self.not_followed_by) if one is not None]
        return (self.picked, *followers)

    @property
    def categories(self) -> frozenset[str]:
        return frozenset(name for picked in self.every_picked for name in picked.categories)

    @property
    def label(self) -> Words:
        return _label(self)


def spec_of(name: str) -> Any:
    """The JSON that a column's name holds. Raises ValueError."""
    return json.loads(name.removeprefix(PREFIX))


def to_json(query: EventQuery) -> dict[str, Any]:
    """The canonical form, without what is left open."""
    out = _picked_json(query.picked)
    if query.measure is not Measure.COUNT:
        out["measure"] = query.measure.value
    for key in ("within_days", "older_than_days"):
        if (days := getattr(query, key)) is not None:
            out[key] = days
    for key, day in (("from", query.first_day), ("to", query.last_day)):
        if day is not None:
            out[key] = day.isoformat()
    for key, other in (("followed_by", query.followed_by), ("not_followed_by", query.not_followed_by)):
        if other is not None:
            out[key] = _picked_json(other)
    return out


def _picked_json(picked: Picked) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": list(picked.kinds)}
    if picked.categories:
        out["category"] = list(picked.categories)
    for key, compared in (("amount", picked.amount), ("rating", picked.rating)):
        if compared is not None:
            out[key] = {"op": compared.op, "value": plain_number(compared.value)}
    if picked.discounted is not None:
        out["discounted"] = picked.discounted
    if picked.product is not None:
        out["product"] = event_products.to_json(picked.product)
    return out


def _label_now(query: EventQuery) -> str:
    return str(MEASURES[query.measure].words) % {"events": phrase(query)}


_label = lazy(_label_now, str)


def phrase(query: EventQuery) -> str:
    """ "ordered, from toys, over 20, within the last 30 days"."""
    return _t(", ").join([*_picked_words(query.picked), *_when_words(query), *_follow_words(query)])


def _picked_words(picked: Picked) -> list[str]:
    from segmentation.rules.words import say_number

    said = [_t(" or ").join(str(KINDS[kind]) for kind in picked.kinds)]
    if picked.categories:
        said.append(_t("from %(categories)s") % {"categories": _t(" or ").join(picked.categories)})
    if picked.amount is not None:
        value = say_number(picked.amount.value, unit="money")
        said.append(str(COMPARED[picked.amount.op]) % {"value": value})
    if picked.rating is not None:
        stars = str(COMPARED[picked.rating.op]) % {"value": say_number(picked.rating.value, unit="")}
        said.append(_t("%(rating)s stars") % {"rating": stars})
    if picked.discounted is not None:
        said.append(_t("with a discount") if picked.discounted else _t("without a discount"))
    if picked.product is not None:
        said += event_products.phrase(picked.product)
    return said


def _when_words(query: EventQuery) -> list[str]:
    from segmentation.rules.words import say_day

    said = []
    if query.within_days is not None:
        said.append(_t("within the last %(days)d days") % {"days": query.within_days})
    if query.older_than_days is not None:
        said.append(_t("more than %(days)d days ago") % {"days": query.older_than_days})
    if query.first_day is not None:
        said.append(_t("from %(day)s on") % {"day": say_day(query.first_day)})
    if query.last_day is not None:
        said.append(_t("up to %(day)s") % {"day": say_day(query.last_day)})
    return said


def _follow_words(query: EventQuery) -> list[str]:
    pairs = (
        (query.followed_by, _("and then %(events)s")),
        (query.not_followed_by, _("and not then %(events)s")),
    )
    return [
        str(words) % {"events": _t(", ").join(_picked_words(picked))}
        for picked, words in pairs
        if picked is not None
    ]
