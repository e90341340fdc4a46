"""Which products an event must hold: a line that meets all of what is asked of it.

    {"id": ["A17"], "name": {"op": "contains", "value": "bear"}, "category": ["toys"],
     "price": {"op": ">", "value": 20}, "quantity": {"op": ">=", "value": 2}}

is "product A17, with “bear” in its name, from toys, over 20 each, at least 2 of it", in one line of the event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation.rules.operators import Words

# A line of an event as `holding` reads it: amount_minor is that of the whole line.
LINES: Final[dict[str, pl.DataType]] = {
    "event_id": pl.Int64(),
    "product": pl.String(),
    "name": pl.String(),
    "category": pl.String(),
    "quantity": pl.Int64(),
    "amount_minor": pl.Int64(),
}
# Comparisons of numbers inside an event: an amount, a rating, a price, a quantity.
COMPARED: Final[dict[str, Words]] = {
    "=": _("of %(value)s"),
    ">": _("over %(value)s"),
    ">=": _("of at least %(value)s"),
    "<": _("below %(value)s"),
    "<=": _("of at most %(value)s"),
}
# Comparisons of a product's name; capitals do not count.
NAMED: Final[dict[str, Words]] = {
    "is": _("called “%(value)s”"),
    "contains": _("with “%(value)s” in its name"),
    "starts_with": _("whose name starts with “%(value)s”"),
}
_known: ContextVar[Mapping[str, str] | None] = ContextVar("product_names", default=None)
_COMPARE: Final[dict[str, Callable[[pl.Expr, float], pl.Expr]]] = {
    "=": lambda column, value: column == value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
}


@dataclass(frozen=True)
class Compared:
    op: str
    value: float


@dataclass(frozen=True)
class Named:
    op: str
    value: str


@dataclass(frozen=True)
class ProductPick:
    """What one line of an event must be; empty means any. `ids` are the shop's own product numbers.

    price: of one piece, discounts off, in major units. quantity: pieces in the line.
    """

    ids: tuple[str, ...] = ()
    name: Named | None = None
    categories: tuple[str, ...] = ()
    price: Compared | None = None
    quantity: Compared | None = None


def plain_number(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def to_json(pick: ProductPick) -> dict[str, Any]:
    """The canonical form, without what is left open."""
    out: dict[str, Any] = {}
    if pick.ids:
        out["id"] = list(pick.ids)
    if pick.name is not None:
        out["name"] = {"op": pick.name.op, "value": pick.name.value}
    if pick.categories:
        out["category"] = list(pick.categories)
    for key, compared in (("price", pick.price), ("quantity", pick.quantity)):
        if compared is not None:
            out[key] = {"op": compared.op, "value": plain_number(compared.value)}
    return out


def holding(pick: ProductPick, lines: pl.DataFrame, *, minor_per_major: int) -> np.ndarray:
    """Ids of the events with a line that the pick asks for. lines: columns of LINES, in any order."""
    fits = pl.lit(True)
    if pick.ids:
        fits &= pl.col("product").is_in(list(pick.ids))
    if pick.name is not None:
        fits &= _named(pick.name)
    if pick.categories:
        fits &= pl.col("category").is_in(list(pick.categories))
    if pick.quantity is not None:
        fits &= _COMPARE[pick.quantity.op](pl.col("quantity").abs(), pick.quantity.value)
    if pick.price is not None:
        # Whole amounts on both sides: a third of a pound has no exact price, three of them do.
        pieces = pl.col("quantity").abs()
        wanted = pieces.cast(pl.Float64) * round(pick.price.value * minor_per_major, 6)
        off = pl.col("amount_minor").abs().cast(pl.Float64) - wanted.round(6)
        fits &= (pieces > 0) & _COMPARE[pick.price.op](off, 0.0)
    return lines.filter(fits.fill_null(False))["event_id"].unique().to_numpy()


def _named(name: Named) -> pl.Expr:
    column, value = pl.col("name").str.to_lowercase(), name.value.lower()
    if name.op == "is":
        return column == value
    if name.op == "contains":
        return column.str.contains(value, literal=True)
    return column.str.starts_with(value)


def phrase(pick: ProductPick) -> list[str]:
    """ "Teddy bear (A17)", "from toys", "over 20.00 GBP each", "at least 2 of it"."""
    from segmentation.rules.words import say_number

    said = []
    if pick.ids:
        said.append(_t("product %(products)s") % {"products": _t(" or ").join(_titles(pick.ids))})
    if pick.name is not None:
        said.append(
            _t("a product %(named)s") % {"named": str(NAMED[pick.name.op]) % {"value": pick.name.value}}
        )
    if pick.categories:
        words = {"categories": _t(" or ").join(pick.categories)}
        said.append(_t("a product from %(categories)s") % words)
    if pick.price is not None:
        price = say_number(pick.price.value, unit="money")
        said.append(
            _t("at a price %(compared)s") % {"compared": str(COMPARED[pick.price.op]) % {"value": price}}
        )
    if pick.quantity is not None:
        pieces = say_number(pick.quantity.value, unit="")
        said.append(
            _t("in a quantity %(compared)s")
            % {"compared": str(COMPARED[pick.quantity.op]) % {"value": pieces}}
        )
    return said


def _titles(ids: Sequence[str]) -> list[str]:
    names = named(ids)
    return [
        _t("%(name)s (%(number)s)") % {"name": names[key], "number": key} if names.get(key) else key
        for key in ids
    ]


def named(ids: Sequence[str]) -> Mapping[str, str]:
    """Names of the shop's products among these numbers; empty where a product has none."""
    from segmentation.models import Product

    known = _known.get() or {}
    unknown = [key for key in ids if key not in known]
    if not unknown:
        return {key: known[key] for key in ids}
    return dict(Product.objects.filter(external_id__in=list(ids)).values_list("external_id", "name"))


@contextmanager
def knowing(names: Mapping[str, str]) -> Iterator[None]:
    """In this block these products are not asked for again: a list of rules reads those of all its rows at once."""
    token = _known.set(names)
    try:
        yield
    finally:
        _known.reset(token)


def ids_in(rule: object) -> set[str]:
    """Numbers of the products that a stored rule, or a list of them, asks about; whatever else is in it is passed over."""
    if isinstance(rule, list):
        return set().union(*map(ids_in, rule))
    if not isinstance(rule, dict):
        return set()
    found = set().union(*map(ids_in, rule.values()))
    product = rule.get("product")
    given = product.get("id") if isinstance(product, dict) else None
    listed = given if isinstance(given, list) else [given]
    return found | {key for key in listed if isinstance(key, str)}
