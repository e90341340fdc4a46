"""Reading an event question from JSON, every error at its node."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from django.utils.translation import gettext as _

from segmentation.normal import is_clean
from segmentation.rules import values
from segmentation.rules.errors import join, kind_of, refuse
from segmentation.rules.event_products import COMPARED, NAMED, Compared, Named, ProductPick
from segmentation.rules.events import KINDS, EventQuery, Measure, Picked

PICKED: Final = ("kind", "category", "amount", "rating", "discounted", "product")
PRODUCT: Final = ("id", "name", "category", "price", "quantity")
WHEN: Final = ("within_days", "older_than_days", "from", "to")
FOLLOWS: Final = ("followed_by", "not_followed_by")
MAX_KINDS: Final = 8
MAX_CATEGORIES: Final = 50
MAX_PRODUCTS: Final = 200
MAX_TEXT: Final = 200


@dataclass(frozen=True)
class Sold:
    """What the shop sells. categories: their names. products: which of some product numbers it has."""

    categories: frozenset[str]
    products: Callable[[Sequence[str]], Container[str]]


def read(data: object, *, path: str, sold: Sold | None) -> EventQuery:
    """sold: what may be asked for; None takes any name and number. Raises RuleError."""
    spec = _object(data, path=path, known=("measure", *PICKED, *WHEN, *FOLLOWS))
    first, last = (_day(spec.get(key), path=join(path, key)) for key in ("from", "to"))
    if first is not None and last is not None and last < first:
        refuse(join(path, "to"), _("The last day is before the first day."))
    within, older = (_days(spec.get(key), path=join(path, key)) for key in ("within_days", "older_than_days"))
    if within is not None and older is not None and older >= within:
        refuse(
            join(path, "older_than_days"),
            _("No day is more than %(older)d days ago and within the last %(within)d days."),
            older=older,
            within=within,
        )
    return EventQuery(
        picked=_picked(spec, path=path, sold=sold),
        measure=_measure(spec.get("measure", Measure.COUNT.value), path=join(path, "measure")),
        within_days=within,
        older_than_days=older,
        first_day=first,
        last_day=last,
        followed_by=_follower(spec, "followed_by", path=path, sold=sold),
        not_followed_by=_follower(spec, "not_followed_by", path=path, sold=sold),
    )


def _object(data: object, *, path: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        refuse(
            path, _("Expected an object that says which events count, found %(found)s."), found=kind_of(data)
        )
    extra = sorted(str(key) for key in data if key not in known)
    if extra:
        refuse(
            path,
            _("An event has no “%(key)s”; it may have: %(names)s."),
            key=extra[0],
            names=", ".join(known),
        )
    return data


def _picked(spec: Mapping[str, Any], *, path: str, sold: Sold | None) -> Picked:
    return Picked(
        kinds=_kinds(spec.get("kind"), path=join(path, "kind")),
        categories=_categories(spec.get("category"), path=join(path, "category"), sold=sold),
        amount=_compared(spec.get("amount"), path=join(path, "amount")),
        rating=_compared(spec.get("rating"), path=join(path, "rating")),
        discounted=_yes_or_no(spec.get("discounted"), path=join(path, "discounted")),
        product=_product(spec.get("product"), path=join(path, "product"), sold=sold),
    )


def _product(data: object, *, path: str, sold: Sold | None) -> ProductPick | None:
    if data is None:
        return None
    spec = _object(data, path=path, known=PRODUCT)
    if not spec:
        refuse(path, _("Say which product: one or more of %(names)s."), names=", ".join(PRODUCT))
    return ProductPick(
        ids=_ids(spec.get("id"), path=join(path, "id"), sold=sold),
        name=_name(spec.get("name"), path=join(path, "name")),
        categories=_categories(spec.get("category"), path=join(path, "category"), sold=sold),
        price=_compared(spec.get("price"), path=join(path, "price")),
        quantity=_compared(spec.get("quantity"), path=join(path, "quantity")),
    )


def _ids(data: object, *, path: str, sold: Sold | None) -> tuple[str, ...]:
    if data is None:
        return ()
    given = _texts(data, path=path, most=MAX_PRODUCTS)
    known = given if sold is None else sold.products(given)
    for index, number in enumerate(given):
        if number not in known:
            refuse(
                f"{path}[{index}]",
                _("The shop has no product with the number %(found)s."),
                found=kind_of(number),
            )
    return given


def _name(data: object, *, path: str) -> Named | None:
    if data is None:
        return None
    if not isinstance(data, dict) or set(data) != {"op", "value"}:
        refuse(path, _("A comparison has “op” and “value”, found %(found)s."), found=kind_of(data))
    if not isinstance(data["op"], str) or data["op"] not in NAMED:
        refuse(join(path, "op"), _("Use one of: %(names)s."), names=", ".join(NAMED))
    return Named(data["op"], _text(data["value"], path=join(path, "value")))


def _texts(data: object, *, path: str, most: int) -> tuple[str, ...]:
    """Distinct texts of a list, or of one text."""
    given = [data] if isinstance(data, str) else data
    if not isinstance(given, list | tuple) or not given:
        refuse(path, _("Expected a list with at least one value, found %(found)s."), found=kind_of(data))
    if len(given) > most:
        refuse(path, _("The list has %(count)d values; the most is %(most)d."), count=len(given), most=most)
    return tuple(dict.fromkeys(_text(text, path=f"{path}[{index}]") for index, text in enumerate(given)))


def _text(data: object, *, path: str) -> str:
    if not isinstance(data, str) or not data.strip():
        refuse(path, _("Expected a text, found %(found)s."), found=kind_of(data))
    if len(data) > MAX_TEXT:
        refuse(path, _("The text is longer than %(most)d characters."), most=MAX_TEXT)
    if not is_clean(data):
        refuse(path, _("The text holds a character that cannot be stored."))
    return data


def _follower(spec: Mapping[str, Any], key: str, *, path: str, sold: Sold | None) -> Picked | None:
    if spec.get(key) is None:
        return None
    here = join(path, key)
    return _picked(_object(spec[key], path=here, known=PICKED), path=here, sold=sold)


def _kinds(data: object, *, path: str) -> tuple[str, ...]:
    given = [data] if isinstance(data, str) else data
    if not isinstance(given, list | tuple) or not given:
        refuse(path, _("Say what the customer did: one or more of %(names)s."), names=", ".join(KINDS))
    if len(given) > MAX_KINDS:
        refuse(
            path, _("The list has %(count)d values; the most is %(most)d."), count=len(given), most=MAX_KINDS
        )
    for index, kind in enumerate(given):
        if not isinstance(kind, str) or kind not in KINDS:
            refuse(
                f"{path}[{index}]",
                _("There is no kind of event called %(found)s; use one of: %(names)s."),
                found=kind_of(kind),
                names=", ".join(KINDS),
            )
    return tuple(dict.fromkeys(given))


def _categories(data: object, *, path: str, sold: Sold | None) -> tuple[str, ...]:
    if data is None:
        return ()
    given = [data] if isinstance(data, str) else data
    if not isinstance(given, list | tuple) or not given:
        refuse(path, _("Expected a list with at least one value, found %(found)s."), found=kind_of(data))
    if len(given) > MAX_CATEGORIES:
        refuse(
            path,
            _("The list has %(count)d values; the most is %(most)d."),
            count=len(given),
            most=MAX_CATEGORIES,
        )
    for index, name in enumerate(given):
        if not isinstance(name, str) or not name or (sold is not None and name not in sold.categories):
            refuse(
                f"{path}[{index}]",
                _("The shop has no product category called %(found)s."),
                found=kind_of(name),
            )
    return tuple(dict.fromkeys(given))


def _compared(data: object, *, path: str) -> Compared | None:
    if data is None:
        return None
    if not isinstance(data, dict) or set(data) != {"op", "value"}:
        refuse(path, _("A comparison has “op” and “value”, found %(found)s."), found=kind_of(data))
    if not isinstance(data["op"], str) or data["op"] not in COMPARED:
        refuse(join(path, "op"), _("Use one of: %(names)s."), names=", ".join(COMPARED))
    return Compared(data["op"], values.number(data["value"], path=join(path, "value")))


def _yes_or_no(data: object, *, path: str) -> bool | None:
    if data is not None and not isinstance(data, bool):
        refuse(path, _("Expected true or false, found %(found)s."), found=kind_of(data))
    return data


def _days(data: object, *, path: str) -> int | None:
    return None if data is None else int(values.days(data, path=path))


def _day(data: object, *, path: str) -> date | None:
    return None if data is None else values.day(data, path=path)


def _measure(data: object, *, path: str) -> Measure:
    try:
        return Measure(data)  # type: ignore[arg-type]
    except ValueError:
        return refuse(
            path,
            _("There is no measure called %(found)s; use one of: %(names)s."),
            found=kind_of(data),
            names=", ".join(Measure),
        )
