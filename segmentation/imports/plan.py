"""What to import and how: everything that can be refused is refused here, before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from segmentation import stored_files
from segmentation.imports import mapping as mappings
from segmentation.imports import presets
from segmentation.imports.mapping import CustomerMapping, EventMapping
from segmentation.imports.parquet_table import ParquetTable
from segmentation.imports.problems import ImportProblem
from segmentation.imports.tables import Table, open_table
from segmentation.models import ImportRun, Shop

Kind = ImportRun.Kind


@dataclass(frozen=True)
class Request:
    """An import as asked for; `as_json` and `from_json` carry it to a worker."""

    path: Path
    kind: str = Kind.EVENTS
    preset: str = ""
    mapping: Mapping[str, Any] | None = None
    currency: str = ""
    time_zone: str = ""
    source: str = ""
    rejects: Path | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "file": stored_files.reference(self.path),
            "preset": self.preset,
            "mapping": self.mapping,
            "currency": self.currency,
            "time_zone": self.time_zone,
            "source": self.source,
            "rejects": str(self.rejects) if self.rejects else "",
        }

    @classmethod
    def from_json(cls, kind: str, content: Mapping[str, Any]) -> Request:
        return cls(
            path=stored_files.located(content["file"]),
            kind=kind,
            preset=content["preset"],
            mapping=content["mapping"],
            currency=content["currency"],
            time_zone=content["time_zone"],
            source=content["source"],
            rejects=Path(content["rejects"]) if content["rejects"] else None,
        )


@dataclass(frozen=True)
class Plan:
    """A table that was opened and whose columns were found. Exactly one mapping is set."""

    request: Request
    table: Table
    columns: Mapping[str, str]
    events: EventMapping | None = None
    customers: CustomerMapping | None = None

    @property
    def source(self) -> str:
        mapping = self.events or self.customers
        assert mapping is not None
        return mapping.source

    @property
    def namespace(self) -> str:
        mapping = self.events or self.customers
        assert mapping is not None
        return mapping.namespace


def prepare(request: Request, *, shop: Shop) -> Plan:
    """Open the file and fit the mapping to its columns; writes nothing. Raises ImportProblem."""
    if request.kind == Kind.EVENTS:
        events = _events(request, shop)
        table = open_table(request.path)
        columns = mappings.resolve(events.columns, table.columns, file=request.path.name)
        _read_only(table, set(columns.values()))
        return Plan(request, table, columns, events=events)
    customers = _customers(request, shop)
    table = open_table(request.path)
    columns = mappings.resolve(customers.columns, table.columns, file=request.path.name)
    wanted = {f"attributes.{item.slug}": (item.column,) for item in customers.attributes}
    wanted |= {
        f"valid_from.{item.slug}": (item.valid_from,)
        for item in customers.attributes
        if item.valid_from and item.valid_from not in customers.columns
    }
    columns |= mappings.resolve(wanted, table.columns, file=request.path.name)
    _read_only(table, set(table.columns) if customers.all_other_columns else set(columns.values()))
    return Plan(request, table, columns, customers=customers)


def default_rejects(run: ImportRun) -> Path:
    return Path(settings.VAR_DIR) / "imports" / f"{Path(run.file_name).stem}.{run.pk}.rejects.csv"


def digest(path: Path) -> str:
    """SHA-256 of the file, so that staff can tell which one it was."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _events(request: Request, shop: Shop) -> EventMapping:
    mapping = _chosen(request, presets.events, mappings.event_mapping)
    content = {"currency": request.currency or mapping.currency or shop.base_currency}
    checked = mappings.event_mapping({"columns": {"customer": "c", "time": "t"}, **content})
    return replace(
        mapping,
        currency=checked.currency,
        time_zone=_zone(request, mapping.time_zone, shop),
        source=request.source or mapping.source,
    )


def _customers(request: Request, shop: Shop) -> CustomerMapping:
    mapping = _chosen(request, presets.customers, mappings.customer_mapping)
    return replace(
        mapping,
        time_zone=_zone(request, mapping.time_zone, shop),
        source=request.source or mapping.source,
    )


def _chosen(request: Request, preset: Any, from_json: Any) -> Any:
    if bool(request.preset) == (request.mapping is not None):
        raise ImportProblem(
            _("Say how the file is to be read: with a preset or with a mapping, one of the two.")
        )
    return preset(request.preset) if request.preset else from_json(request.mapping)


def _zone(request: Request, mapped: str, shop: Shop) -> str:
    zone = request.time_zone or mapped or shop.time_zone
    checked = mappings.event_mapping({"columns": {"customer": "c", "time": "t"}, "time_zone": zone})
    return checked.time_zone


def _read_only(table: Table, columns: set[str]) -> None:
    if isinstance(table, ParquetTable):
        table.read_only(columns)
