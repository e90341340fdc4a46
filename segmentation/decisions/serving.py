"""Service priorities as rows: who is served sooner or later than usual, until when, and by when they get an answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from segmentation import bulk, in_force
from segmentation.decisions import again, hours
from segmentation.decisions.codes import Verdict
from segmentation.decisions.levels import Levels, may_lower
from segmentation.decisions.policy import Policy
from segmentation.decisions.verdicts import Judged
from segmentation.models import PriorityOverride, PriorityReview, ServicePriority, ServicePriorityRule
from segmentation.models.customers import PriorityLevel

NORMAL: Final = int(PriorityLevel.NORMAL)
_MOMENT: Final = pl.Datetime("us", "UTC")
_STORED: Final = {
    "customer_id": pl.Int64,
    "level": pl.Int64,
    "rule_id": pl.Int64,
    "override_id": pl.Int64,
    "ended_rules": pl.String,
}
_WRITTEN: Final = ("since", "expires_at", "respond_by", "handled_at", "handled_by_id")


def write(now: pl.DataFrame, judged: Judged, policy: Policy, levels: Levels | None, *, at: datetime) -> None:
    """Store who is served how where it differs; normal has no row. A changed row is open work again."""
    wanted = _wanted(now, judged, policy, levels)
    found = bulk.values_in(ServicePriority.objects.all(), now["customer_id"].to_list(), *_STORED)
    stored = pl.DataFrame(list(found), schema=_STORED, orient="row")
    if not (stored.is_empty() and wanted.is_empty()):
        _store(wanted, stored, policy, at)
    _ask(now, judged, policy, levels)


def _wanted(now: pl.DataFrame, judged: Judged, policy: Policy, levels: Levels | None) -> pl.DataFrame:
    if levels is None and (judged.level == NORMAL).all():
        return pl.DataFrame(schema=_STORED)
    rows = now.select(
        "customer_id",
        pl.col("priority").alias("level"),
        "rule_id",
        pl.lit(None, pl.Int64).alias("override_id"),
        pl.lit("").alias("ended_rules"),
    )
    if levels is None:
        return rows.filter(pl.col("level") != NORMAL)
    count = len(policy.candidates)
    worn = np.zeros(rows.height, dtype=bool) if judged.overridden is None else judged.overridden
    over = judged.codes[:, count:] == Verdict.PRIORITY_EXPIRED
    ended = [""] * rows.height
    for row in np.flatnonzero(over.any(axis=1)).tolist():
        ended[row] = ",".join(str(policy.priorities[place].rule_id) for place in np.flatnonzero(over[row]))
    overrides = pl.Series(levels.override_id)
    rows = rows.with_columns(
        override_id=pl.when(pl.Series(worn)).then(overrides).otherwise(None),
        ended_rules=pl.Series(ended, dtype=pl.String),
    )
    return rows.filter((pl.col("level") != NORMAL) | (pl.col("ended_rules") != "") | pl.Series(worn))


def _store(wanted: pl.DataFrame, stored: pl.DataFrame, policy: Policy, at: datetime) -> None:
    same = ["customer_id", "level", "rule_id", "override_id"]
    bulk.delete(ServicePriority, ("customer_id",), stored.join(wanted, on="customer_id", how="anti"))
    _remember(wanted, stored, same)
    different = wanted.join(stored, on=same, how="anti", nulls_equal=True)
    if different.is_empty():
        return
    rows = _with_times(different, policy, at).with_columns(
        handled_at=pl.lit(None, _MOMENT), handled_by_id=pl.lit(None, pl.Int64)
    )
    columns = (*(name for name in _STORED if name != "customer_id"), *_WRITTEN)
    overwrite = bulk.Update(keys=("customer_id",), columns=columns, locked=True)
    bulk.insert(ServicePriority, rows.columns, rows, on_conflict=overwrite)
    ends = rows.filter(pl.col("expires_at").is_not_null())
    again.plan_all(ends.select("customer_id", pl.col("expires_at").alias("at")))


def _remember(wanted: pl.DataFrame, stored: pl.DataFrame, same: list[str]) -> None:
    """Rules whose time is over, where nothing else differs: the row stays as it is, handled or not."""
    if not ((wanted["ended_rules"] != "").any() or (stored["ended_rules"] != "").any()):
        return
    remembered = wanted.join(stored, on=same, how="semi", nulls_equal=True).join(
        stored, on=list(_STORED), how="anti", nulls_equal=True
    )
    bulk.update(
        ServicePriority,
        ("customer_id", "ended_rules"),
        remembered.select("customer_id", "ended_rules"),
        keys=("customer_id",),
    )


def _with_times(rows: pl.DataFrame, policy: Policy, at: datetime) -> pl.DataFrame:
    """since, expires_at, respond_by: worked out once for each rule and each override."""
    found = [rule for rule in rows["rule_id"].unique().to_list() if rule is not None]
    targets = ServicePriorityRule.objects.filter(pk__in=found, target_minutes__isnull=False) if found else ()
    shop = in_force.shop()
    by = {rule.pk: hours.add_business_time(at, rule.target_minutes or 0, shop) for rule in targets}
    days = {rule.rule_id: rule.expires_days for rule in policy.priorities if rule.expires_days is not None}
    of_rule = [
        (rule, by.get(rule), at + timedelta(days=days[rule]) if rule in days else None) for rule in found
    ]
    ends = _ends([pk for pk in rows["override_id"].to_list() if pk is not None])
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "rule_id": pl.Int64,
        "respond_by": _MOMENT,
        "rule_ends": _MOMENT,
    }
    rows = rows.join(pl.DataFrame(of_rule, schema=schema, orient="row"), on="rule_id", how="left").join(
        pl.DataFrame(ends, schema={"override_id": pl.Int64, "override_ends": _MOMENT}, orient="row"),
        on="override_id",
        how="left",
    )
    until = pl.coalesce("override_ends", "rule_ends").alias("expires_at")
    since = pl.lit(at).dt.convert_time_zone("UTC").alias("since")
    return rows.with_columns(since, until).drop("override_ends", "rule_ends")


def _ends(overrides: list[int]) -> list[tuple[int, datetime]]:
    if not overrides:
        return []
    return list(PriorityOverride.objects.filter(pk__in=overrides).values_list("pk", "until"))


def _ask(now: pl.DataFrame, judged: Judged, policy: Policy, levels: Levels | None) -> None:
    """Whoever a prediction would serve later waits for a person's word; nobody is asked about twice."""
    if levels is None:
        return
    count = len(policy.candidates)
    places = [place for place in range(len(policy.priorities)) if may_lower(policy.priorities, place)]
    ids, level = now["customer_id"].to_numpy(), now["priority"].to_numpy()
    rows = [
        (
            int(ids[row]),
            policy.priorities[place].rule_id,
            policy.priorities[place].level,
            int(level[row]),
            "waiting",
        )
        for place in places
        for row in np.flatnonzero(judged.codes[:, count + place] == Verdict.PRIORITY_NEEDS_APPROVAL)
    ]
    bulk.insert(
        PriorityReview, ("customer_id", "rule_id", "level", "otherwise", "state"), rows, on_conflict="ignore"
    )
