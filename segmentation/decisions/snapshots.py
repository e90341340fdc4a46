"""What decisions saw of a customer: the values their rules ask about, stored once an input version.

A snapshot is a JSON object. The fields of the policy that it was written under have numbers instead of names there:
a run writes one a customer, and the names would be most of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import orjson
import polars as pl

from segmentation import bulk
from segmentation.decisions.policy import Policy
from segmentation.models import InputSnapshot, PolicyVersion
from segmentation.stages import stage

Values = dict[str, Any]
_COLUMNS: Final = ("id", "customer_id", "input_version", "policy_id", "as_of", "content")
_KEY: Final = {"customer_id": pl.Int64, "input_version": pl.Int64}
_STORED: Final = {**_KEY, "id": pl.Int64}


def read(snapshot: InputSnapshot, policy: PolicyVersion | None = None) -> Values:
    """Values by field name; a missing value has no key. policy: spares a query where it is the snapshot's own."""
    if policy is None or policy.pk != snapshot.policy_id:
        policy = snapshot.policy
    return _unpack(snapshot.content, {} if policy is None else policy.content)


@stage("snapshots")
def write(frame: pl.DataFrame, policy: Policy, policy_id: int, *, as_of: date) -> pl.Series:
    """Store what the policy asks of the rows (customers whose rows are locked); returns the snapshots' ids, row by row.

    A snapshot of the same inputs that is there already only gains fields that a newer policy asks about.
    """
    rows = frame.select(*_KEY, pl.Series("content", _pack(frame, policy), dtype=pl.String))
    rows = rows.join(_stored(rows), on=list(_KEY), how="left", maintain_order="left")
    is_new = rows["id"].is_null()
    _extend(rows.filter(~is_new), policy, policy_id)
    ids = pl.Series("id", bulk.new_ids(InputSnapshot, int(is_new.sum())), dtype=pl.Int64)
    fresh = rows.filter(is_new).with_columns(
        ids,
        pl.col("content").cast(pl.Binary),
        pl.lit(policy_id, pl.Int64).alias("policy_id"),
        pl.lit(as_of).alias("as_of"),
    )
    bulk.insert(InputSnapshot, _COLUMNS, fresh)
    return rows["id"].scatter(is_new.arg_true(), ids)


def _numbers(content: Mapping[str, Any]) -> dict[str, str]:
    """Field name → its number in snapshots under this policy. Names hold a dot, so they are never taken for one."""
    return {name: str(number) for number, name in enumerate(sorted(content.get("fields", ())))}


def _pack(frame: pl.DataFrame, policy: Policy) -> pl.Series:
    numbers = _numbers(policy.content)
    asked = [name for name in sorted(policy.fields_used) if name in frame.columns]
    if not asked:
        return pl.repeat("{}", frame.height, eager=True)
    named = pl.struct(pl.col(name).alias(numbers.get(name, name)) for name in asked)
    return frame.select(named.struct.json_encode()).to_series()


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
