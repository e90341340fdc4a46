"""What decisions saw of a customer: the values their rules ask about, stored once an input version.

A snapshot is a JSON object. The fields of the policy that it was written under have numbers instead of names there:
a run writes one a customer, and the names would be most of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import orjson
import polars as pl

from segmentation import bulk
from segmentation.decisions.policy import Policy
from segmentation.frames import OVERRIDE
from segmentation.models import InputSnapshot, PolicyVersion
from segmentation.rules.operators import FieldType
from segmentation.stages import stage

Values = dict[str, Any]
_COLUMNS: Final = ("id", "customer_id", "input_version", "policy_id", "as_of", "content")
_TYPES: Final[dict[str, Any]] = {
    FieldType.NUMBER: pl.Float64,
    FieldType.BOOLEAN: pl.Boolean,
    FieldType.TEXT: pl.String,
    FieldType.CHOICE: pl.String,
}
_KEY: Final = {"customer_id": pl.Int64, "input_version": pl.Int64}
_STORED: Final = {**_KEY, "id": pl.Int64}


def read(snapshot: InputSnapshot, policy: PolicyVersion | None = None) -> Values:
    """Values by field name; a missing value has no key. policy: spares a query where it is the snapshot's own."""
    if policy is None or policy.pk != snapshot.policy_id:
        policy = snapshot.policy
    return _unpack(snapshot.content, {} if policy is None else policy.content)


def frame(snapshot: InputSnapshot, version: PolicyVersion, policy: Policy) -> pl.DataFrame:
    """A snapshot as the decision frame of one customer: a column for each field that the policy asks about."""
    return frame_of([(snapshot, version)], policy)


def frame_of(rows: Sequence[tuple[InputSnapshot, PolicyVersion | None]], policy: Policy) -> pl.DataFrame:
    """Snapshots, each with the policy that it was read for, as the decision frame that `policy` asks for."""
    values = [read(snapshot, version) for snapshot, version in rows]
    names = sorted(name for name in policy.fields_used if not name.startswith("segment."))
    columns: list[pl.Series] = [
        pl.Series("customer_id", [snapshot.customer_id for snapshot, _ in rows], dtype=pl.Int64),
        pl.Series("input_version", [snapshot.input_version for snapshot, _ in rows], dtype=pl.Int64),
    ]
    for name in names:
        field = policy.content["fields"].get(name)
        columns.append(_column(name, [row.get(name) for row in values], field["type"] if field else ""))
    return pl.DataFrame(columns)


def _column(name: str, values: Sequence[Any], kind: str) -> pl.Series:
    if kind == FieldType.DATE:
        return pl.Series(name, [date.fromisoformat(one) if isinstance(one, str) else one for one in values])
    return pl.Series(name, values, dtype=_TYPES.get(kind) if kind else None)


@stage("snapshots")
def write(frame: pl.DataFrame, policy: Policy, policy_id: int, *, as_of: date) -> pl.Series:
    """Store what the policy asks of the rows (customers whose rows are locked); returns the snapshots' ids, row by row.

    A snapshot of the same inputs that is there already only gains fields that a newer policy asks about.
    """
    rows = pl.DataFrame([*(frame[name] for name in _KEY), _pack(frame, policy).alias("content")])
    stored = _stored(rows)
    if stored.is_empty():
        return _insert(rows, policy_id, as_of)
    rows = rows.join(stored, on=list(_KEY), how="left", maintain_order="left")
    is_new = rows["id"].is_null()
    _extend(rows.filter(~is_new), policy, policy_id)
    return rows["id"].scatter(is_new.arg_true(), _insert(rows.filter(is_new).drop("id"), policy_id, as_of))


def _insert(rows: pl.DataFrame, policy_id: int, as_of: date) -> pl.Series:
    """Write rows of _KEY and content; returns their ids."""
    ids = pl.Series("id", bulk.new_ids(InputSnapshot, rows.height), dtype=pl.Int64)
    whole = rows.with_columns(
        ids,
        pl.col("content").cast(pl.Binary),
        pl.lit(policy_id, pl.Int64).alias("policy_id"),
        pl.lit(as_of).alias("as_of"),
    )
    bulk.insert(InputSnapshot, _COLUMNS, whole)
    return ids


def _numbers(content: Mapping[str, Any]) -> dict[str, str]:
    """Field name → its number in snapshots under this policy. Names hold a dot, so they are never taken for one."""
    return {name: str(number) for number, name in enumerate(sorted(content.get("fields", ())))}


def _pack(frame: pl.DataFrame, policy: Policy) -> pl.Series:
    numbers = _numbers(policy.content)
    asked = [name for name in sorted(policy.fields_used) if name in frame.columns]
    if not asked:
        return pl.repeat("{}", frame.height, eager=True)
    columns = [pl.col(name).alias(numbers.get(name, name)) for name in asked]
    plain = pl.struct(columns).struct.json_encode()
    beside = [name for name in frame.columns if name.startswith(OVERRIDE) and _label(name) in asked]
    if not beside:
        return frame.select(plain).to_series()
    # Only who was overridden pays for the names.
    whole = pl.struct([*columns, *beside]).struct.json_encode()
    is_set = pl.any_horizontal(pl.col(name).is_not_null() for name in beside)
    return frame.select(pl.when(is_set).then(whole).otherwise(plain)).to_series()


def _label(override: str) -> str:
    """The field of the class that stands instead of the model's own."""
    return f"score.{override.removeprefix(OVERRIDE)}.label"


def _unpack(content: bytes | memoryview, policy: Mapping[str, Any]) -> Values:
    names = {number: name for name, number in _numbers(policy).items()}
    stored: Values = orjson.loads(content)
    return {names.get(key, key): value for key, value in stored.items() if value is not None}


def _stored(rows: pl.DataFrame) -> pl.DataFrame:
    """Snapshots of these inputs: customer_id, input_version, id."""
    known = bulk.values_in(InputSnapshot.objects.all(), rows["customer_id"].to_list(), *_STORED)
    return pl.DataFrame(list(known), schema=_STORED, orient="row")


def _extend(rows: pl.DataFrame, policy: Policy, policy_id: int) -> None:
    """Merge what is asked now into snapshots that are there; what they held stays."""
    now = dict(rows.select("id", "content").iter_rows())
    numbers = _numbers(policy.content)
    changed = []
    for row in InputSnapshot.objects.filter(pk__in=now).exclude(policy=policy_id).select_related("policy"):
        before = read(row)
        merged = _unpack(now[row.pk].encode(), policy.content) | before
        if merged.keys() > before.keys():
            content = orjson.dumps({numbers.get(name, name): value for name, value in merged.items()})
            changed.append((row.pk, policy_id, content))
    bulk.update(InputSnapshot, ("id", "policy_id", "content"), changed)
