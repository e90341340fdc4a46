"""How a file's columns are read: checked once, with the key named where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from segmentation.imports.problems import ImportProblem
from segmentation.imports.tables import LINE
from segmentation.kinds import EventKind
from segmentation.models import AttributeDefinition
from segmentation.models.shop import validate_time_zone

EVENT_FIELDS = (
    "customer", "email", "time", "kind", "event", "version", "order", "product", "product_name", "category",
    "quantity", "unit_price", "amount", "discount", "currency", "rating", "text", "channel", "country",
    "codes",
)  # fmt: skip
CUSTOMER_FIELDS = (
    "customer", "email", "first_name", "last_name", "phone", "country", "channel", "language", "birthday",
    "signed_up_at", "updated_at", "marketing_consent", "marketing_consent_at", "profiling_consent",
    "profiling_consent_at",
)  # fmt: skip
# Of a source or a namespace.
MOST_NAME = 64
# In place of the customers' id column: a table of one line a customer that has none.
LINE_NUMBER = "#line"
GROUPINGS = ("order", "customer_and_time")
_COMMON_KEYS = {"columns", "time_zone", "time_format", "decimal", "namespace", "source"}
_EVENT_KEYS = _COMMON_KEYS | {"kind", "kinds", "currency", "cancelled_prefix", "group_by", "free_lines"}
_CUSTOMER_KEYS = _COMMON_KEYS | {"attributes"}
_ATTRIBUTE_KEYS = {"column", "kind", "label", "description", "feature", "rule_field", "target", "valid_from"}

Names = tuple[str, ...]


@dataclass(frozen=True)
class EventMapping:
    """`columns`: our field → names the column may have in the file, the first one present counts."""

    columns: Mapping[str, Names]
    kind: EventKind = EventKind.ORDER_PLACED
    kinds: Mapping[str, EventKind] = field(default_factory=dict)
    currency: str = ""
    time_zone: str = ""
    time_formats: Names = ()
    decimal_comma: bool = False
    cancelled_prefix: str = ""
    group_by: str = "order"
    skip_free_lines: bool = False
    namespace: str = "shop"
    source: str = "file"


@dataclass(frozen=True)
class AttributeMapping:
    slug: str
    column: str
    kind: str = ""
    label: str = ""
    description: str = ""
    is_feature: bool = False
    is_rule_field: bool = True
    is_label: bool = False
    valid_from: str = ""  # a column of times, or "signed_up_at"; empty: when the file was handed in


@dataclass(frozen=True)
class CustomerMapping:
    columns: Mapping[str, Names]
    attributes: tuple[AttributeMapping, ...] = ()
    all_other_columns: bool = False
    time_zone: str = ""
    time_formats: Names = ()
    decimal_comma: bool = False
    namespace: str = "shop"
    source: str = "file"


def read_json(path: Path) -> dict[str, Any]:
    """The mapping file as an object. Raises ImportProblem."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ImportProblem(
            _("The mapping %(file)s cannot be read: %(why)s.") % {"file": path, "why": error}
        ) from error
    except json.JSONDecodeError as error:
        raise ImportProblem(
            _("The mapping %(file)s is not valid JSON at line %(line)d, column %(column)d: %(why)s.")
            % {"file": path.name, "line": error.lineno, "column": error.colno, "why": error.msg}
        ) from error
    if not isinstance(content, dict):
        raise ImportProblem(_("The mapping %(file)s must be a JSON object in braces.") % {"file": path.name})
    return content


def from_text(text: str) -> Any:
    """What somebody typed as a mapping. Raises ImportProblem where it is no JSON that a database can hold."""
    if "\\u0000" not in text:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    raise ImportProblem(_("The mapping is not valid JSON."))


def _is_object(content: Any) -> None:
    if not isinstance(content, dict):
        raise ImportProblem(_("The mapping must be a JSON object in braces."))


def event_mapping(content: Mapping[str, Any]) -> EventMapping:
    """Check a mapping for events. Raises ImportProblem naming the key."""
    _is_object(content)
    _known_keys("", content, _EVENT_KEYS)
    columns = _columns(content, EVENT_FIELDS)
    _needs(columns, "time")
    if "customer" not in columns and "email" not in columns:
        raise _wrong("columns", _("name the column of the customer's id as “customer”, or “email”"))
    return EventMapping(
        columns=columns,
        kind=_kind("kind", content.get("kind", EventKind.ORDER_PLACED.slug)),
        kinds={str(word): _kind(f"kinds.{word}", slug) for word, slug in _object(content, "kinds").items()},
        currency=_currency(content),
        cancelled_prefix=_text(content, "cancelled_prefix"),
        group_by=_one_of(content, "group_by", GROUPINGS),
        skip_free_lines=_one_of(content, "free_lines", ("keep", "skip")) == "skip",
        **_common(content),
    )


def customer_mapping(content: Mapping[str, Any]) -> CustomerMapping:
    """Check a mapping for customers. Raises ImportProblem naming the key."""
    _is_object(content)
    _known_keys("", content, _CUSTOMER_KEYS)
    columns = _columns(content, CUSTOMER_FIELDS)
    _needs(columns, "customer")
    given = content.get("attributes", {})
    if given == "all":
        return CustomerMapping(columns=columns, all_other_columns=True, **_common(content))
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        given = {name: {} for name in given}
    if not isinstance(given, dict):
        raise _wrong("attributes", _("use “all”, a list of columns or an object"))
    attributes = tuple(_attribute(str(slug), settings) for slug, settings in given.items())
    return CustomerMapping(columns=columns, attributes=attributes, **_common(content))


def resolve(columns: Mapping[str, Names], present: Iterable[str], *, file: str) -> dict[str, str]:
    """Our field → the file's column. A field whose columns are all missing raises ImportProblem."""
    there = list(present)
    found: dict[str, str] = {}
    missing: list[str] = []
    for name, candidates in columns.items():
        column = next((candidate for candidate in candidates if candidate in there), None)
        if name == "customer" and column is None and LINE_NUMBER in candidates:
            # A table without ids: each line is a customer of its own, named by its number.
            found[name] = LINE
        elif column is not None:
            found[name] = column
        else:
            missing.append(candidates[0])
    if missing:
        raise ImportProblem(
            _("%(file)s lacks the columns %(missing)s. It has: %(present)s. Correct the mapping or the file.")
            % {
                "file": file,
                "missing": ", ".join(missing),
                "present": ", ".join(name for name in there if name),
            }
        )
    return found


def _attribute(slug: str, settings: Any) -> AttributeMapping:
    from segmentation.attributes import slug_of

    key = f"attributes.{slug}"
    settings = {"column": settings} if isinstance(settings, str) else settings
    if not isinstance(settings, dict):
        raise _wrong(key, _("must be an object or the name of a column"))
    _known_keys(f"{key}.", settings, _ATTRIBUTE_KEYS)
    flags = {name: settings.get(name, name == "rule_field") for name in ("feature", "rule_field", "target")}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise _wrong(f"{key}.{name}", _("must be true or false"))
    kind = settings.get("kind", "")
    if kind and kind not in AttributeDefinition.Kind.values:
        raise _wrong(
            f"{key}.kind",
            _("must be one of %(kinds)s") % {"kinds": ", ".join(AttributeDefinition.Kind.values)},
        )
    return AttributeMapping(
        slug=slug_of(slug),
        column=_text(settings, "column", key) or slug,
        kind=kind,
        label=_text(settings, "label", key),
        description=_text(settings, "description", key),
        is_feature=flags["feature"],
        is_rule_field=flags["rule_field"],
        is_label=flags["target"],
        valid_from=_text(settings, "valid_from", key),
    )


def _common(content: Mapping[str, Any]) -> dict[str, Any]:
    zone = _text(content, "time_zone")
    if zone:
        try:
            validate_time_zone(zone)
        except ValidationError as error:
            raise _wrong("time_zone", " ".join(error.messages)) from error
    formats = content.get("time_format", [])
    formats = [formats] if isinstance(formats, str) else formats
    if not isinstance(formats, list) or not all(isinstance(form, str) and form for form in formats):
        raise _wrong("time_format", _("must be a text such as %(example)s") % {"example": "%d/%m/%Y %H:%M"})
    return {
        "time_zone": zone,
        "time_formats": tuple(formats),
        "decimal_comma": _one_of(content, "decimal", (".", ",")) == ",",
        "namespace": _name(content, "namespace") or "shop",
        "source": _name(content, "source") or "file",
    }


def _columns(content: Mapping[str, Any], allowed: Names) -> dict[str, Names]:
    columns = _object(content, "columns")
    if not columns:
        raise _wrong(
            "columns",
            _("say which column is which, for example %(example)s") % {"example": '{"customer": "id"}'},
        )
    _known_keys("columns.", columns, set(allowed))
    named: dict[str, Names] = {}
    for name, candidates in columns.items():
        listed = [candidates] if isinstance(candidates, str) else candidates
        if (
            not isinstance(listed, list)
            or not listed
            or not all(isinstance(item, str) and item for item in listed)
        ):
            raise _wrong(f"columns.{name}", _("must be the name of a column"))
        named[name] = tuple(item.strip() for item in listed)
    return named


def _needs(columns: Mapping[str, Names], name: str) -> None:
    if name not in columns:
        raise _wrong(f"columns.{name}", _("is missing; name the column"))


def _kind(key: str, slug: Any) -> EventKind:
    try:
        return EventKind.from_slug(str(slug))
    except ValueError as error:
        known = ", ".join(kind.slug for kind in EventKind)
        raise _wrong(key, _("must be one of %(kinds)s") % {"kinds": known}) from error


def _currency(content: Mapping[str, Any]) -> str:
    code = _text(content, "currency").upper()
    if code and not (len(code) == 3 and code.isascii() and code.isalpha()):
        raise _wrong("currency", _("must be a code of three letters such as GBP"))
    return code


def _one_of(content: Mapping[str, Any], key: str, allowed: Names) -> str:
    value = content.get(key, allowed[0])
    if value not in allowed:
        raise _wrong(key, _("must be one of %(kinds)s") % {"kinds": ", ".join(allowed)})
    return str(value)


def _text(content: Mapping[str, Any], key: str, inside: str = "") -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise _wrong(f"{inside}.{key}" if inside else key, _("must be a text"))
    return value.strip()


def _name(content: Mapping[str, Any], key: str) -> str:
    name = _text(content, key)
    if len(name) > MOST_NAME:
        raise _wrong(key, _("must have at most %(most)d characters") % {"most": MOST_NAME})
    return name


def _object(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise _wrong(key, _("must be an object in braces"))
    return value


def _known_keys(inside: str, content: Mapping[str, Any], allowed: set[str]) -> None:
    for key in content:
        if key not in allowed:
            raise _wrong(
                f"{inside}{key}", _("is unknown; known are %(names)s") % {"names": ", ".join(sorted(allowed))}
            )


def _wrong(key: str, why: str) -> ImportProblem:
    return ImportProblem(_("In the mapping, “%(key)s” %(why)s.") % {"key": key, "why": why})
