"""Reading untrusted JSON by field, with a sentence for whatever is wrong. Values are never repeated in the sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
from django.utils.translation import gettext as _

from segmentation import normal
from segmentation.normal import NormalCode

_AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,6})?")
MAX_WHOLE = 2**53
LAST_SECOND = 7_258_118_400  # 2200, after which no time can be true


class BadField(ValueError):
    """A field is missing or not what it should be; the message names the field."""


def load_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises BadField; depth, numbers and text that cannot be stored are refused here.

    Where a name appears twice in an object the last one counts.
    """
    content = _load(body)
    if not isinstance(content, dict):
        raise BadField(_("The body must be a JSON object: {...}."))
    return content


def _load(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadField(
            _("The body is not JSON that can be read (line %(line)d, column %(column)d).")
            % {"line": error.lineno, "column": error.colno}
        ) from error


def load_objects(body: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a list, or the one object there is. Raises BadField."""
    content = _load(body)
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise BadField(_("The body must be a JSON object or a list of objects: [{...}]."))
    return entries


def from_minor(value: int, digits: int) -> Decimal:
    """Major units of an amount in minor units."""
    return Decimal(value).scaleb(-digits)


@dataclass(frozen=True)
class Fields:
    """The fields of one JSON object; `path` is where it stands, for the sentences."""

    values: Mapping[str, Any]
    path: str = ""

    def name(self, field: str) -> str:
        return f"{self.path}.{field}" if self.path else field

    def has(self, field: str) -> bool:
        return self.values.get(field) is not None

    def text(self, field: str, *, most: int, required: bool = False) -> str:
        """Text, or a whole number written as text (ids are often numbers); empty when absent."""
        value = self.values.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is None or value == "":
            if required:
                raise BadField(_("%(field)s is missing.") % {"field": self.name(field)})
            return ""
        if not isinstance(value, str):
            raise BadField(_("%(field)s must be text.") % {"field": self.name(field)})
        if "\x00" in value:
            raise BadField(_("%(field)s contains a NUL character.") % {"field": self.name(field)})
        if len(value) > most:
            raise BadField(
                _("%(field)s is %(length)d characters long; at most %(most)d are kept.")
                % {"field": self.name(field), "length": len(value), "most": most}
            )
        return value.strip()

    def prose(self, field: str, *, most: int) -> str:
        """A customer's own words: cut at `most` characters, without characters that cannot be stored."""
        value = self.values.get(field)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadField(_("%(field)s must be text.") % {"field": self.name(field)})
        return value.replace("\x00", "").strip()[:most]

    def clipped(self, field: str, *, most: int) -> str:
        """A detail that may be shortened; what is neither text nor a whole number counts as absent."""
        value = self.values.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        return value.replace("\x00", "").strip()[:most] if isinstance(value, str) else ""

    def amount(self, field: str) -> Decimal | None:
        """Money in major units: 19.99 or "19.99"; None when absent."""
        value = self.values.get(field)
        if value is None:
            return None
        text = _plain_number(value)
        if not isinstance(text, str) or not _AMOUNT.fullmatch(text):
            raise BadField(
                _('%(field)s must be an amount such as 19.99 or "19.99".') % {"field": self.name(field)}
            )
        return Decimal(text)

    def whole(self, field: str, *, default: int, least: int = 0, most: int = MAX_WHOLE) -> int:
        value = self.values.get(field)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise BadField(
                _("%(field)s must be a whole number from %(least)d to %(most)d.")
                % {"field": self.name(field), "least": least, "most": most}
            )
        return value

    def number(self, field: str) -> float | None:
        value = self.values.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadField(_("%(field)s must be a number.") % {"field": self.name(field)})
        return float(value)

    def amount_or_zero(self, field: str) -> Decimal:
        """An amount of zero or more; zero when absent."""
        amount = self.amount(field) or Decimal(0)
        if amount < 0:
            raise BadField(_("%(field)s must not be negative.") % {"field": self.name(field)})
        return amount

    def flag(self, field: str) -> bool:
        """True for true, and for the "true", "1" and 1 that some systems write."""
        return self.values.get(field) in (True, 1, "true", "1")

    def epoch(self, field: str, *, milliseconds: bool = False) -> datetime | None:
        """A time in whole seconds (or milliseconds) since 1970; None when absent or zero."""
        value = self.whole(field, default=0, most=LAST_SECOND * (1000 if milliseconds else 1))
        if not value:
            return None
        return datetime.fromtimestamp(value / 1000 if milliseconds else value, tz=UTC)

    def moment(self, field: str, *, utc: bool = False) -> datetime | None:
        """A time with its time zone (ISO 8601, such as 2026-11-01T10:00:00Z); None when absent or empty.

        `utc`: the vendor documents that a time without a zone is UTC.
        """
        value = self.values.get(field)
        if value is None or value == "":
            return None
        try:
            found = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            found = None
        if found is not None and utc and found.utcoffset() is None:
            found = found.replace(tzinfo=UTC)
        if found is None or found.utcoffset() is None:
            raise BadField(
                _("%(field)s must be a time with its zone, such as 2026-11-01T10:00:00Z.")
                % {"field": self.name(field)}
            )
        return found

    def day(self, field: str) -> date | None:
        value = self.values.get(field)
        if value is None:
            return None
        try:
            return date.fromisoformat(value) if isinstance(value, str) else _refuse_day()
        except ValueError as error:
            raise BadField(
                _("%(field)s must be a day such as 1990-04-01.") % {"field": self.name(field)}
            ) from error

    def part(self, field: str) -> Fields:
        """An object whose absence (or null, or an empty list in its place) is the same as an empty one."""
        value = self.values.get(field)
        return Fields(value if isinstance(value, dict) else {}, self.name(field))

    def object(self, field: str, *, required: bool = False) -> Fields | None:
        value = self.values.get(field)
        if value is None and not required:
            return None
        if not isinstance(value, dict):
            raise BadField(_("%(field)s must be an object: {...}.") % {"field": self.name(field)})
        return Fields(value, self.name(field))

    def objects(self, field: str, *, most: int) -> list[Fields]:
        """A list of objects; empty when absent."""
        value = self.values.get(field)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise BadField(_("%(field)s must be a list of objects: [{...}].") % {"field": self.name(field)})
        if len(value) > most:
            raise BadField(
                _("%(field)s holds %(count)d entries; at most %(most)d are taken at once.")
                % {"field": self.name(field), "count": len(value), "most": most}
            )
        return [Fields(entry, f"{self.name(field)}[{number}]") for number, entry in enumerate(value)]


def used_codes(told: Iterable[tuple[str, Decimal | None]]) -> tuple[NormalCode, ...]:
    """Codes of an order with what each took off; each once, without empty ones, and not more than are kept."""
    found = {
        code.casefold(): NormalCode(code, off if off is None or off >= 0 else None)
        for code, off in told
        if code
    }
    return tuple(found.values())[: normal.MAX_CODES]


def _plain_number(value: Any) -> Any:
    """A JSON number without exponent; a sum of floats such as 0.30000000000000004 loses its noise."""
    if isinstance(value, float):
        return f"{value:.6f}"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _refuse_day() -> date:
    raise ValueError
