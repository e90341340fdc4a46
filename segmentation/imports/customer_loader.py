"""Customers of a file into the database, some hundreds a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from django.db import connection, transaction
from django.utils.translation import gettext as _

from segmentation import attributes, identities, ingest, tombstones
from segmentation.due import grow_versions
from segmentation.imports import casts
from segmentation.imports.event_loader import Loaded
from segmentation.imports.mapping import AttributeMapping, CustomerMapping
from segmentation.imports.plan import Plan
from segmentation.imports.problems import Reject
from segmentation.imports.rejects import SHOWN
from segmentation.imports.tables import LINE
from segmentation.models import (
    AttributeDefinition,
    AttributeValue,
    Consent,
    ContactData,
    Customer,
    CustomerIdentity,
    EventSource,
)
from segmentation.normal import (
    EARLIEST,
    PROFILE_LIMITS,
    PURPOSES,
    NormalConsent,
    NormalCustomer,
    customer_problem,
)

ROWS_A_CHUNK = 10_000
TABLES = (Customer, CustomerIdentity, ContactData, Consent, AttributeValue)
# SQLite lets one process write at a time: see event_loader.LINES_A_PIECE.
_PIECE = {"sqlite": 500, "postgresql": 2_000}
_TIMES = ("signed_up_at", "updated_at", "marketing_consent_at", "profiling_consent_at")
_WORDS = {
    **dict.fromkeys(
        ("granted", "yes", "true", "1", "agreed", "opt-in", "subscribed"), Consent.Status.GRANTED
    ),
    **dict.fromkeys(
        ("denied", "no", "false", "0", "refused", "opt-out", "unsubscribed"), Consent.Status.DENIED
    ),
    **dict.fromkeys(("unknown", "none"), None),
}


@dataclass
class CustomerLoader:
    mapping: CustomerMapping
    columns: Mapping[str, str]
    source: EventSource
    received_at: datetime
    definitions: dict[str, AttributeDefinition] | None = None

    @classmethod
    def of(cls, prepared: Plan, *, source: EventSource, received_at: datetime) -> CustomerLoader:
        assert prepared.customers is not None
        mapping = prepared.customers
        columns = dict(prepared.columns)
        if mapping.all_other_columns:
            others = [name for name in prepared.table.columns if name and name not in columns.values()]
            slugs = {attributes.slug_of(name): name for name in others}
            columns |= {f"attributes.{slug}": name for slug, name in slugs.items()}
            every = tuple(
                AttributeMapping(slug=slug, column=name, label=name[:100]) for slug, name in slugs.items()
            )
            mapping = CustomerMapping(
                columns=mapping.columns,
                attributes=every,
                time_zone=mapping.time_zone,
                time_formats=mapping.time_formats,
                decimal_comma=mapping.decimal_comma,
                namespace=mapping.namespace,
                source=mapping.source,
            )
        return cls(mapping, columns, source, received_at)

    def load(self, raw: pl.DataFrame) -> Iterator[Loaded]:
        """Store a chunk of lines; each answer is committed."""
        if self.definitions is None and len(raw):
            with transaction.atomic():
                self.definitions = {item.slug: self._define(item, raw) for item in self.mapping.attributes}
        rows = self._typed(raw)
        for piece in rows.iter_slices(_PIECE[connection.vendor]):
            yield self._store(piece.to_dicts())

    def _define(self, item: AttributeMapping, raw: pl.DataFrame) -> AttributeDefinition:
        """The definition of a mapped column; what the mapping does not say is read off the first lines."""
        return attributes.define(
            item.slug,
            kind=self._kind(item, raw),
            **({"label": item.label} if item.label else {}),
            description=item.description,
            is_feature=item.is_feature,
            is_rule_field=item.is_rule_field,
            is_label=item.is_label,
        )

    def _kind(self, item: AttributeMapping, raw: pl.DataFrame) -> str:
        return item.kind or _kind_of(raw, self.columns[f"attributes.{item.slug}"])

    def _typed(self, raw: pl.DataFrame) -> pl.DataFrame:
        zone, formats = self.mapping.time_zone, self.mapping.time_formats
        fields: dict[str, pl.Expr] = {}
        for name, column in self.columns.items():
            dtype = raw.schema[column]
            if name in _TIMES or name.startswith("valid_from."):
                fields[name] = casts.moment(column, dtype, zone=zone, formats=formats)
                fields[f"{name}!"] = casts.text(column, dtype)
            elif name == "birthday":
                fields[name] = (
                    pl.col(column) if dtype == pl.Date else casts.text(column, dtype).str.slice(0, 10)
                )
            elif name == "customer":
                fields[name] = casts.reference(column, dtype)
            elif name.startswith("attributes.") and not dtype.is_float() and dtype != pl.String:
                fields[name] = pl.col(column)
            else:
                fields[name] = casts.text(column, dtype)
        return raw.select(pl.col(LINE), **fields)

    def check(self, raw: pl.DataFrame) -> tuple[list[tuple[int, NormalCustomer, str]], list[Reject]]:
        """What `load` would store: line, customer and attributes as text; and the rejects. Writes nothing."""
        known = AttributeDefinition.objects.in_bulk(
            [item.slug for item in self.mapping.attributes], field_name="slug"
        )
        self.definitions = {
            item.slug: known.get(item.slug) or AttributeDefinition(slug=item.slug, kind=self._kind(item, raw))
            for item in self.mapping.attributes
        }
        rows = self._typed(raw).to_dicts()
        accepted, rejects = self._accept(rows)
        lines = {row["customer"]: row[LINE] for row in reversed(rows)}
        people = [
            (lines[reference], customer, ", ".join(_words(fitted) for fitted in values))
            for reference, (customer, values, _received_at) in accepted.items()
        ]
        return people, rejects

    def _accept(self, rows: Sequence[dict[str, Any]]) -> tuple[dict[str, ingest.Person], list[Reject]]:
        accepted: dict[str, ingest.Person] = {}
        rejects: list[Reject] = []
        for row in rows:
            try:
                customer = self._customer(row)
                if customer.reference in accepted:
                    raise ValueError(
                        _("The customer %(id)s is in the file before.") % {"id": customer.reference}
                    )
                accepted[customer.reference] = ingest.Person(
                    customer, self._attributes(row), self.received_at
                )
            except ValueError as error:
                content = ",".join("" if value is None else str(value) for value in row.values())
                rejects.append(Reject(row[LINE], str(error), content[:SHOWN]))
        return accepted, rejects

    def _store(self, rows: Sequence[dict[str, Any]]) -> Loaded:
        loaded = Loaded()
        with transaction.atomic():
            rows, loaded.erased_lines = self._without_erased(rows)
            accepted, loaded.rejects = self._accept(rows)
            ids, new = identities.find_or_create_many(self.mapping.namespace, accepted)
            people = {ids[reference]: person for reference, person in accepted.items()}
            changed = new | ingest.record_people(people, source=self.source)
            grow_versions(changed - new)  # nothing was computed yet from somebody new
        loaded.lines = len(changed)
        loaded.repeated_lines = len(people) - len(changed)
        loaded.customers_created = len(new)
        return loaded

    def _without_erased(self, rows: Sequence[dict[str, Any]]) -> tuple[Sequence[dict[str, Any]], int]:
        """The lines of people who were not erased, and how many others there are."""
        people = [(row["customer"] or "", (row.get("email") or "").strip()) for row in rows]
        erased = tombstones.among(people, namespace=self.mapping.namespace)
        kept = [row for row, who in zip(rows, people, strict=True) if who not in erased]
        return kept, len(rows) - len(kept)

    def _customer(self, row: Mapping[str, Any]) -> NormalCustomer:
        """Raises ValueError with a sentence."""
        for name in _TIMES:
            _check_time(row, name)
        texts: dict[str, Any] = {name: row.get(name) or "" for name in PROFILE_LIMITS}
        customer = NormalCustomer(
            reference=row["customer"] or "",
            birthday=_birthday(row.get("birthday")),
            signed_up_at=row.get("signed_up_at"),
            updated_at=row.get("updated_at"),
            consents=tuple(self._consents(row)),
            **texts,
        )
        if problem := customer_problem(customer):
            raise ValueError(problem)
        return customer

    def _consents(self, row: Mapping[str, Any]) -> Iterator[NormalConsent]:
        for purpose in PURPOSES:
            word = row.get(f"{purpose}_consent")
            if not word:
                continue
            if word.lower() not in _WORDS:
                raise ValueError(
                    _("“%(value)s” is not an answer about consent; use granted or denied.")
                    % {"value": word[:80]}
                )
            status = _WORDS[word.lower()]
            if status is not None:
                decided = row.get(f"{purpose}_consent_at") or row.get("updated_at") or self.received_at
                yield NormalConsent(purpose, status, decided)

    def _attributes(self, row: Mapping[str, Any]) -> list[attributes.Fitted]:
        assert self.definitions is not None
        fitted = []
        for item in self.mapping.attributes:
            value = row[f"attributes.{item.slug}"]
            if value is None:
                continue
            definition = self.definitions[item.slug]
            fitted.append(
                attributes.Fitted(definition, attributes.to_stored(definition, value), _valid_from(item, row))
            )
        return fitted


def _words(fitted: attributes.Fitted) -> str:
    return f"{fitted.definition.slug}: {attributes.to_python(fitted.definition, fitted.value)}"


def _valid_from(item: AttributeMapping, row: Mapping[str, Any]) -> datetime | None:
    if not item.valid_from:
        return None
    name = f"valid_from.{item.slug}"
    _check_time(row, name)
    value: datetime | None = row[name] if name in row else row.get(item.valid_from)
    return value


def _check_time(row: Mapping[str, Any], name: str) -> None:
    word, value = row.get(f"{name}!"), row.get(name)
    if word and value is None:
        raise ValueError(
            _("“%(value)s” is not a date and time; use 2024-05-31 18:45 or give a time_format.")
            % {"value": word[:80]}
        )
    if value is not None and value < EARLIEST:
        raise ValueError(_("The date %(value)s is before 1990.") % {"value": word})


def _birthday(value: object) -> date | None:
    if value is None or isinstance(value, date):
        return value
    try:
        day = date.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(
            _("“%(value)s” is not a date; write 1990-05-31.") % {"value": str(value)[:80]}
        ) from error
    if not date(1890, 1, 1) <= day <= datetime.now(UTC).date():
        raise ValueError(_("The birthday %(value)s cannot be true.") % {"value": day})
    return day


def _kind_of(raw: pl.DataFrame, column: str) -> str:
    dtype = raw.schema[column]
    if dtype == pl.Boolean:
        return AttributeDefinition.Kind.BOOLEAN
    if dtype.is_temporal():
        return AttributeDefinition.Kind.DATE
    return attributes.infer_kind(raw[column].cast(pl.String, strict=False).to_list())
