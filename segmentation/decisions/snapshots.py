"""What decisions saw of a customer: the values their rules ask about, stored once an input version."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import orjson
import polars as pl

from segmentation import bulk
from segmentation.models import InputSnapshot

Values = dict[str, Any]
Key = tuple[int, int]


def pack(values: Mapping[str, Any]) -> bytes:
    """zlib JSON of the values that are there; a missing value has no key."""
    present = {name: value for name, value in values.items() if value is not None and value == value}
    return zlib.compress(orjson.dumps(present, option=orjson.OPT_SORT_KEYS), 1)


def unpack(content: bytes | memoryview) -> Values:
    values: Values = orjson.loads(zlib.decompress(content))
    return values


def write(frame: pl.DataFrame, fields: Sequence[str], *, as_of: date) -> dict[Key, int]:
    """Store the rows' values and return snapshot ids by (customer id, input version).

    A snapshot of the same inputs that is there already only gains fields that a newer policy asks about.
    """
    names = [name for name in sorted(fields) if name in frame.columns]
    keys: list[Key] = frame.select("customer_id", "input_version").rows()
    rows = (
        dict(zip(keys, frame.select(names).iter_rows(named=True), strict=True))
        if names
        else {key: {} for key in keys}
    )
    known = _known(keys)
    _extend({key: known[key] for key in rows if key in known}, rows)
    fresh = [(*key, as_of, pack(values)) for key, values in rows.items() if key not in known]
    columns = ("customer_id", "input_version", "as_of", "content")
    bulk.insert(InputSnapshot, columns, fresh)
    return {
        key: pk for key, (pk, _content) in (known | _known([row[:2] for row in fresh], ids_only=True)).items()
    }


def _known(keys: Sequence[Key], *, ids_only: bool = False) -> dict[Key, tuple[int, Any]]:
    """Snapshots of these inputs: (customer id, input version) → (id, content)."""
    wanted = set(keys)
    columns = ("customer_id", "input_version", "pk", *(() if ids_only else ("content",)))
    rows = bulk.values_in(InputSnapshot.objects.all(), [customer for customer, _version in keys], *columns)
    return {
        (row[0], row[1]): (row[2], None if ids_only else row[3]) for row in rows if (row[0], row[1]) in wanted
    }


def _extend(known: Mapping[Key, tuple[int, Any]], rows: Mapping[Key, Mapping[str, Any]]) -> None:
    changed = []
    for key, (pk, content) in known.items():
        before = unpack(content)
        added = {name: value for name, value in rows[key].items() if name not in before and value is not None}
        if added:
            changed.append((pk, pack(before | orjson.loads(orjson.dumps(added)))))
    bulk.update(InputSnapshot, ("id", "content"), changed)
