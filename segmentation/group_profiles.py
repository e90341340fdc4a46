"""What a group of customers is like: a few habits beside everybody's, kept as words to be said in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from django.db.models import Sum
from django.utils.translation import gettext as _

from segmentation.ml.schema import Frame
from segmentation.models import EventItem

# The habits that groups are made of: what staff can picture.
HABITS: Final = (
    "recency_days", "orders_365d", "gap_mean_days", "spend_365d", "order_value_mean", "lines_per_order",
    "units_per_order", "price_per_unit", "discount_share", "categories_365d", "returned_share", "views_30d",
    "reviews_365d", "tickets_365d", "tenure_days",
)  # fmt: skip
# Upper ends of the usual days between orders.
RHYTHMS: Final = (
    (10, "weekly"),
    (21, "fortnightly"),
    (45, "monthly"),
    (75, "two_monthly"),
    (135, "quarterly"),
)
LARGE, SMALL = 1.5, 0.67
AWAY_DAYS = 180
MOSTLY, OFTEN = 0.5, 0.3
MUCH = 2.0
SAMPLE = 2_000


def profiles(frame: Frame, labels: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """name -> {"share", "customers", "habits": [[word, number or text], …], "figures": {feature: [own, everybody's]}}."""
    known = [name for name in HABITS if name in frame.x.columns]
    numbers = frame.x.select(pl.col(known).cast(pl.Float64).fill_nan(None))
    whole = _medians(numbers)
    found = {}
    for position, name in enumerate(names):
        rows = np.flatnonzero(labels == position)
        own = _medians(numbers[rows])
        found[name] = {
            "customers": len(rows),
            "share": len(rows) / max(len(frame), 1),
            "habits": _habits(own, whole, _categories(frame.ids[rows])),
            "figures": {feature: [own[feature], whole[feature]] for feature in known},
        }
    return found


def sentence(profile: Mapping[str, Any]) -> str:
    """“buys monthly, large baskets, mostly Toys”."""
    said = [_say(word, value) for word, value in profile.get("habits", ())]
    return ", ".join(part for part in said if part) or _("like most customers")


def _say(word: str, value: Any) -> str:
    sentences = {
        "once": _("has bought once"),
        "weekly": _("buys about every week"),
        "fortnightly": _("buys every two weeks"),
        "monthly": _("buys monthly"),
        "two_monthly": _("buys every two months"),
        "quarterly": _("buys every quarter"),
        "seldom": _("buys seldom"),
        "large": _("large baskets"),
        "small": _("small baskets"),
        "mostly": _("mostly %(category)s"),
        "often": _("often %(category)s"),
        "away": _("not seen for a long time"),
        "returns": _("returns much"),
        "discounts": _("buys on offer"),
        "browses": _("looks around a lot"),
        "tickets": _("often asks for help"),
    }
    return sentences[word] % {"category": value} if word in sentences else ""


def _habits(
    own: Mapping[str, float | None], whole: Mapping[str, float | None], categories: Mapping[str, float]
) -> list[list[Any]]:
    said: list[list[Any]] = [[_rhythm(own), None]]
    ratio = _ratio(own, whole, "order_value_mean")
    if ratio >= LARGE or ratio <= SMALL:
        said.append(["large" if ratio >= LARGE else "small", None])
    if categories:
        top, share = max(categories.items(), key=lambda item: item[1])
        if share >= OFTEN:
            said.append(["mostly" if share >= MOSTLY else "often", top])
    if (own.get("recency_days") or 0) > AWAY_DAYS:
        said.append(["away", None])
    for feature, word, least in (
        ("returned_share", "returns", 0.1), ("discount_share", "discounts", 0.1),
        ("views_30d", "browses", 3), ("tickets_365d", "tickets", 1),
    ):  # fmt: skip
        if (own.get(feature) or 0) >= least and _ratio(own, whole, feature) >= MUCH:
            said.append([word, None])
    return said


def _rhythm(own: Mapping[str, float | None]) -> str:
    gap = own.get("gap_mean_days")
    if gap is None:
        return "once"
    return next((word for most, word in RHYTHMS if gap <= most), "seldom")


def _ratio(own: Mapping[str, float | None], whole: Mapping[str, float | None], name: str) -> float:
    """Own median over everybody's; 1 where one is not known, large where everybody's is 0."""
    mine, all_ = own.get(name), whole.get(name)
    if mine is None or all_ is None:
        return 1.0
    return mine / all_ if all_ else (MUCH if mine else 1.0)


def _medians(numbers: pl.DataFrame) -> dict[str, float | None]:
    """The usual days between orders are not known of most who bought once: then there are none of the group."""
    found = {}
    for column in numbers.get_columns():
        few = column.null_count() > column.len() / 2
        value = None if few else column.median()
        found[column.name] = float(value) if isinstance(value, int | float) else None
    return found


def _categories(ids: np.ndarray) -> dict[str, float]:
    """Share of units by category, from a sample of the group's customers."""
    step = max(len(ids) // SAMPLE, 1)
    items = EventItem.objects.filter(
        event__customer__in=ids[::step].tolist(), product__category__isnull=False
    )
    rows = list(items.order_by().values_list("product__category__name").annotate(units=Sum("quantity")))
    total = sum(units for _name, units in rows if units and units > 0)
    return {name: units / total for name, units in rows if total and units > 0}
