"""A shop's own columns: typed definitions and dated values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl
from django.utils.text import slugify
from django.utils.translation import gettext as _

from segmentation import bulk
from segmentation.models import AttributeDefinition, AttributeValue

Kind = AttributeDefinition.Kind
MAX_TEXT = 500
MAX_CHOICES = 200
EPOCH = date(1970, 1, 1)
_VALUE = {
    "customer_id": pl.Int64(), "definition_id": pl.Int64(), "valid_from": pl.Datetime("us", "UTC"),
    "number": pl.Float64(), "text": pl.String(),
}  # fmt: skip
TRUE_WORDS = frozenset({"true", "yes", "y", "t", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "no", "n", "f", "0", "0.0"})


class AttributeProblem(ValueError):
    """A value that does not fit its definition; the message is a sentence for staff."""


@dataclass(frozen=True)
class Stored:
    """How a value lies in the database: numbers, yes/no (0, 1) and dates (days since 1970-01-01) as number."""

    number: float | None = None
    text: str | None = None


@dataclass(frozen=True)
class Fitted:
    """A value that fits its definition; `valid_from` None means the time of the update."""

    definition: AttributeDefinition
    value: Stored
    valid_from: datetime | None = None


@dataclass(frozen=True)
class DatedValue:
    customer_id: int
    definition_id: int
    valid_from: datetime
    value: Stored


def slug_of(name: str) -> str:
    """A short name for a column: small letters, digits and underscores."""
    return slugify(name).replace("-", "_")[:50] or "attribute"


def to_stored(definition: AttributeDefinition, value: object) -> Stored:
    """Raises AttributeProblem when the value does not fit the definition."""
    try:
        return _STORERS[Kind(definition.kind)](value)
    except ValueError as error:
        raise AttributeProblem(
            _("“%(value)s” is not a value of %(attribute)s (%(kind)s).")
            % {
                "value": str(value)[:80],
                "attribute": definition.slug,
                "kind": definition.get_kind_display(),
            }
        ) from error


def fit(values: Mapping[str, object], definitions: Mapping[str, AttributeDefinition]) -> list[Fitted]:
    """Non-empty values by column name with their definitions (by slug). Raises AttributeProblem."""
    present = {slug_of(name): value for name, value in values.items() if value is not None and value != ""}
    return [Fitted(definitions[slug], to_stored(definitions[slug], value)) for slug, value in present.items()]


def to_python(definition: AttributeDefinition, stored: Stored) -> object:
    """The value as staff see it: float, str, bool, date or None."""
    if definition.kind in {Kind.TEXT, Kind.CHOICE}:
        return stored.text
    if stored.number is None:
        return None
    if definition.kind == Kind.BOOLEAN:
        return stored.number != 0
    if definition.kind == Kind.DATE:
        return date.fromordinal(EPOCH.toordinal() + int(stored.number))
    return stored.number


def infer_kind(values: Iterable[object]) -> str:
    """The narrowest kind that every non-empty value fits; text when there is none."""
    present = [value for value in values if value is not None and str(value).strip() != ""]
    if not present:
        return Kind.TEXT
    words = {str(value).strip().lower() for value in present}
    if words <= {"true", "false", "yes", "no"}:
        return Kind.BOOLEAN
    for kind in (Kind.NUMBER, Kind.DATE):
        if all(_fits(kind, value) for value in present):
            return kind
    few = len(words) <= min(50, max(2, len(present) // 2))
    return Kind.CHOICE if few else Kind.TEXT


def define(slug: str, *, kind: str, **fields: object) -> AttributeDefinition:
    """The definition called `slug`, made when new; an existing one keeps its kind and its settings."""
    definition, _created = AttributeDefinition.objects.get_or_create(
        slug=slug, defaults={"label": slug.replace("_", " ").capitalize(), "kind": kind, **fields}
    )
    return definition


def add_choices(values: Iterable[Fitted]) -> None:
    """Remember the values that choices take, in the order they came; needs a transaction."""
    seen: dict[int, tuple[AttributeDefinition, dict[str, None]]] = {}
    for fitted in values:
        if fitted.definition.kind == Kind.CHOICE and fitted.value.text:
            seen.setdefault(fitted.definition.pk, (fitted.definition, {}))[1][fitted.value.text] = None
    for definition, texts in seen.values():
        if all(text in definition.choices for text in texts):
            continue
        # Staff or an erasure may have taken some away since the definition was read.
        stored = AttributeDefinition.objects.select_for_update().filter(pk=definition.pk)
        definition.choices = stored.values_list("choices", flat=True).get()
        new = [text for text in texts if text not in definition.choices]
        if new:
            definition.choices = [*definition.choices, *new][:MAX_CHOICES]
            definition.save(update_fields=["choices"])


def write(values: Iterable[DatedValue]) -> set[int]:
    """Store what differs from what held at that time; returns the customers with something new."""
    wanted = {(value.customer_id, value.definition_id, value.valid_from): value for value in values}
    history = _history({key[0] for key in wanted}, {key[1] for key in wanted})
    changed = [value for value in wanted.values() if _is_news(value, history)]
    rows = [
        (value.customer_id, value.definition_id, value.valid_from, value.value.number, value.value.text)
        for value in changed
    ]
    frame = pl.DataFrame(rows, schema=_VALUE, orient="row")
    bulk.insert(
        AttributeValue,
        frame.columns,
        frame,
        on_conflict=bulk.Update(keys=("customer", "definition", "valid_from"), columns=("number", "text")),
    )
    return {value.customer_id for value in changed}


def read(customer_id: int, *, at: datetime) -> dict[str, object]:
    """Values by slug as they held at a moment."""
    rows = (
        AttributeValue.objects.filter(customer_id=customer_id, valid_from__lte=at)
        .select_related("definition")
        .order_by("valid_from")
    )
    return {row.definition.slug: to_python(row.definition, Stored(row.number, row.text)) for row in rows}


History = dict[tuple[int, int], list[tuple[datetime, Stored]]]


def _history(customer_ids: set[int], definition_ids: set[int]) -> History:
    found: History = {}
    stored = AttributeValue.objects.filter(definition__in=definition_ids)
    rows = sorted(bulk.values_in(stored, sorted(customer_ids), *_VALUE), key=lambda row: row[2])
    for customer_id, definition_id, valid_from, number, text in rows:
        found.setdefault((customer_id, definition_id), []).append((valid_from, Stored(number, text)))
    return found


def _is_news(value: DatedValue, history: Mapping[tuple[int, int], list[tuple[datetime, Stored]]]) -> bool:
    held = [
        stored
        for valid_from, stored in history.get((value.customer_id, value.definition_id), [])
        if valid_from <= value.valid_from
    ]
    return not held or held[-1] != value.value


def _number(value: object) -> Stored:
    number = float(str(value).strip())
    if not math.isfinite(number):
        raise ValueError(value)
    return Stored(number=number)


def _text(value: object) -> Stored:
    text = str(value).strip()
    if len(text) > MAX_TEXT or "\x00" in text:
        raise ValueError(value)
    return Stored(text=text)


def _boolean(value: object) -> Stored:
    word = str(value).strip().lower()
    if word in TRUE_WORDS:
        return Stored(number=1.0)
    if word in FALSE_WORDS:
        return Stored(number=0.0)
    raise ValueError(value)


def _date(value: object) -> Stored:
    if isinstance(value, datetime):
        day = value.astimezone(UTC).date() if value.tzinfo else value.date()
    elif isinstance(value, date):
        day = value
    else:
        day = datetime.fromisoformat(str(value).strip()).date()
    return Stored(number=float(day.toordinal() - EPOCH.toordinal()))


_STORERS = {
    Kind.NUMBER: _number,
    Kind.TEXT: _text,
    Kind.CHOICE: _text,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
}


def _fits(kind: str, value: object) -> bool:
    try:
        _STORERS[Kind(kind)](value)
    except ValueError:
        return False
    return True
