"""Decide for the customers of a frame and write what changed. Callers hold the transaction and the customers' rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, overload

import numpy as np
import polars as pl
from django.db.models import Max
from django.utils import timezone

from segmentation import bulk, in_force, packed
from segmentation.decisions import again, circumstances, ledger, levels, re_entry, serving, snapshots
from segmentation.decisions import policy as policies
from segmentation.decisions.limits import Allowance
from segmentation.decisions.policy import Policy
from segmentation.decisions.verdicts import Judged, judge
from segmentation.models import Customer, Decision, PolicyVersion
from segmentation.models.customers import PriorityLevel
from segmentation.stages import stage

# A verdict that an older policy did not have: differs from every real one.
UNKNOWN: Final = 255
_COLUMNS: Final = (
    "id",
    "customer_id",
    "input_version",
    "policy_id",
    "snapshot_id",
    "as_of",
    "cause",
    "campaign_id",
    "offer_id",
    "priority",
    "verdicts",
)
PEOPLE: Final = {
    "id": pl.Int64,
    "reference": pl.String,
    "holdout_key": pl.String,
    "current_offer_id": pl.Int64,
    "priority": pl.Int64,
    "time_zone": pl.String,
}
_LAST: Final = {
    "customer_id": pl.Int64,
    "policy_id": pl.Int64,
    "campaign_id": pl.Int64,
    "offer_id": pl.Int64,
    "priority": pl.Int64,
    "verdicts": pl.Binary,
}
# So few values are picked one by one: an operation of polars takes longer.
FEW: Final = 64
_DECIDED: Final = {"customer_id": pl.Int64, "decision_id": pl.Int64}
_NEWEST: Final = Decision.objects.order_by().values("customer_id").annotate(last=Max("pk"))


@dataclass(frozen=True)
class Decided:
    """A decision that was written: its winner, its priority or a verdict differs from the customer's last one."""

    customer_id: int
    reference: str
    decision_id: int
    input_version: int
    offer: str | None
    campaign: str | None
    priority: int
    offer_changed: bool
    priority_changed: bool
    is_first: bool


class DecidedRows(Sequence[Decided]):
    """Decisions as a frame, made into objects when somebody looks: most runs write many that nobody is told about."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows.height

    def ids(self) -> dict[int, int]:
        """Customer id → decision id."""
        return dict(self._rows.select("customer_id", "decision_id").iter_rows())

    @overload
    def __getitem__(self, index: int) -> Decided: ...

    @overload
    def __getitem__(self, index: slice) -> DecidedRows: ...

    def __getitem__(self, index: int | slice) -> Decided | DecidedRows:
        if isinstance(index, slice):
            return DecidedRows(self._rows[index])
        return Decided(**self._rows.row(index, named=True))

    def __iter__(self) -> Iterator[Decided]:
        return (Decided(**row) for row in self._rows.iter_rows(named=True))


@stage("decisions")
def decide(
    frame: pl.DataFrame,
    *,
    as_of: date,
    cause: int,
    headlines: pl.DataFrame | None = None,
    people: pl.DataFrame | None = None,
    at: datetime | None = None,
) -> DecidedRows:
    """Judge every row and write decisions where something changed, headlines and service priorities with them.

    frame: a decision frame with its segment columns (see memberships.evaluate) and input_version; one row a
    customer. A (customer, input_version, policy) that is decided already stays as it is.
    headlines: more columns of Customer (`id` among them), row by row, which are stored whether they differ or not.
    people: what Customer holds, row by row (see `people`), where the caller has read it. at: the instant; now.
    """
    today = as_of - timedelta(days=1)
    now_ = at or timezone.now()
    policy = policies.current(today)
    policy_id = policies.stored_id(policy)
    ids = frame["customer_id"].to_list()
    people = _people(ids) if people is None else people
    known = re_entry.entries(ids, policy.candidates)
    around = circumstances.read(
        ids,
        policy,
        shop=in_force.shop(),
        today=today,
        now=now_,
        cause=cause,
        zone_names=people["time_zone"].to_list(),
    )
    allowance = Allowance(policy)
    overridden = "overridden" in in_force.exceptions()
    said = levels.read(ids, policy, now=now_, overrides=overridden)
    judged = judge(
        frame,
        policy,
        today=today,
        keys=people["holdout_key"].to_list(),
        waiting=re_entry.waiting(ids, policy.candidates, known, as_of=as_of),
        around=around,
        levels=said,
        allowance=allowance,
    )
    now = _outcome(frame, judged, policy)
    last = _last_decisions(ids, policy, policy_id)
    changed = _changed(now, last)
    if around is not None:
        changed |= pl.Series(ledger.write(ids, judged, policy, around, allowance))
        again.plan_all(around.openings(ids, judged.codes))
    _write_headlines(now, people, headlines)
    serving.write(now, judged, policy, said, at=now_)
    return _write_decisions(frame, now, last, people, changed, policy, policy_id, as_of=as_of, cause=cause)


def people(customers: pl.DataFrame) -> pl.DataFrame:
    """A frame of PEOPLE from columns of Customer; who has no holdout key of their own is drawn by reference."""
    own = pl.when(pl.col("holdout_key") == "").then("reference").otherwise("holdout_key").alias("holdout_key")
    return customers.select(
        "id", "reference", own, "current_offer_id", pl.col("priority").cast(pl.Int64), "time_zone"
    )


def _people(ids: Sequence[int]) -> pl.DataFrame:
    """What Customer holds, in the order of `ids`."""
    found = {row[0]: row for row in bulk.values_in(Customer.objects.all(), ids, *PEOPLE, by="pk")}
    return people(pl.DataFrame([found[key] for key in ids], schema=PEOPLE, orient="row"))


def _outcome(frame: pl.DataFrame, judged: Judged, policy: Policy) -> pl.DataFrame:
    """What each row gets: ids and slugs of the winner, level and rule of the priority, verdicts."""
    offers = [candidate.offer for candidate in policy.candidates]
    campaigns = [candidate.campaign for candidate in policy.candidates]
    rules = [rule.rule_id for rule in policy.priorities]
    columns = {
        "customer_id": frame["customer_id"],
        "input_version": frame["input_version"],
        "campaign_id": _picked([campaign.id for campaign in campaigns], judged.winner, pl.Int64),
        "campaign": _picked([campaign.slug for campaign in campaigns], judged.winner, pl.String),
        "offer_id": _picked([offer.id for offer in offers], judged.winner, pl.Int64),
        "offer": _picked([offer.slug for offer in offers], judged.winner, pl.String),
        "priority": pl.Series(judged.level, dtype=pl.Int64),
        "rule_id": _picked(rules, judged.priority_rule, pl.Int64),
        "verdicts": packed.pack(judged.codes),
    }
    return pl.DataFrame([column.alias(name) for name, column in columns.items()])


def _picked(values: Sequence[object], index: np.ndarray, dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
    """(n,) the value at each index, null at -1."""
    if len(index) <= FEW:
        return pl.Series([None if place < 0 else values[place] for place in index.tolist()], dtype=dtype)
    return pl.Series([*values, None], dtype=dtype).gather(np.where(index < 0, len(values), index))


def _last_decisions(ids: Sequence[int], policy: Policy, policy_id: int) -> pl.DataFrame:
    """Each customer's latest decision in the order of `ids`, its verdicts in the present policy's layout."""
    keys = [last for _customer, last in bulk.values_in(_NEWEST, ids, "customer_id", "last")]
    rows = [
        (*row[:-1], bytes(row[-1])) for row in bulk.values_in(Decision.objects.all(), keys, *_LAST, by="pk")
    ]
    found = {row[0]: row for row in rows}
    missing = (None,) * (len(_LAST) - 1)
    last = pl.DataFrame([found.get(key, (key, *missing)) for key in ids], schema=_LAST, orient="row")
    return _aligned(last, policy, policy_id)


def _aligned(last: pl.DataFrame, policy: Policy, policy_id: int) -> pl.DataFrame:
    given = zip(last["policy_id"].to_list(), last["verdicts"].to_list(), strict=True)
    older = {pk for pk, _codes in given if pk not in {None, policy_id}}
    if not older:
        return last
    orders = _orders(older, policy)
    # One more code a row, for what that policy did not have.
    codes = [
        np.frombuffer(codes + bytes([UNKNOWN]), np.uint8)[orders[pk]].tobytes() if pk in orders else codes
        for pk, codes in zip(last["policy_id"].to_list(), last["verdicts"].to_list(), strict=True)
    ]
    return last.with_columns(pl.Series("verdicts", codes, dtype=pl.Binary))


def _orders(policy_ids: Collection[int], policy: Policy) -> dict[int, list[int]]:
    """By id of an older policy: where in its verdicts each one of the present policy stands; -1 where nowhere."""
    orders = {}
    for pk, content in PolicyVersion.objects.filter(pk__in=policy_ids).values_list("pk", "content"):
        place = {name: position for position, name in enumerate(policies.layout_of(content))}
        orders[pk] = [place.get(name, -1) for name in policy.layout]
    return orders


def _changed(now: pl.DataFrame, last: pl.DataFrame) -> pl.Series:
    """(n,) True where winner, priority or a verdict differs from the latest decision, or there is none."""
    compared = ("offer_id", "campaign_id", "priority", "verdicts")
    differs = [pl.col(name).ne_missing(pl.col(f"last_{name}")) for name in compared]
    return (
        _beside(now, last, (*compared, "policy_id"))
        .select(pl.any_horizontal(pl.col("last_policy_id").is_null(), *differs))
        .to_series()
    )


def _beside(now: pl.DataFrame, last: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The columns of both that have these names, those of `last` as last_…; every step of polars has its price."""
    own = [now[name] for name in names if name in now.columns]
    return pl.DataFrame([*own, *(last[name].alias(f"last_{name}") for name in names)])


def _write_decisions(
    frame: pl.DataFrame,
    now: pl.DataFrame,
    last: pl.DataFrame,
    people: pl.DataFrame,
    changed: pl.Series,
    policy: Policy,
    policy_id: int,
    *,
    as_of: date,
    cause: int,
) -> DecidedRows:
    if not changed.any():
        return DecidedRows(pl.DataFrame(schema=_DECIDED))
    touched = changed & ~_decided_already(now, changed, last, policy_id)
    rows, before = _where(touched, now), _where(touched, last)
    rows = rows.with_columns(
        pl.Series("id", bulk.new_ids(Decision, rows.height), dtype=pl.Int64),
        pl.lit(policy_id, pl.Int64).alias("policy_id"),
        snapshots.write(_where(touched, frame), policy, policy_id, as_of=as_of).alias("snapshot_id"),
        pl.lit(as_of).alias("as_of"),
        pl.lit(int(cause), pl.Int64).alias("cause"),
    )
    bulk.insert(Decision, _COLUMNS, rows)
    return DecidedRows(
        rows.select(
            "customer_id",
            _where(touched, people)["reference"],
            pl.col("id").alias("decision_id"),
            "input_version",
            "offer",
            "campaign",
            "priority",
            rows["offer_id"].ne_missing(before["offer_id"]).alias("offer_changed"),
            (rows["priority"] != before["priority"].fill_null(int(PriorityLevel.NORMAL))).alias(
                "priority_changed"
            ),
            before["policy_id"].is_null().alias("is_first"),
        )
    )


def _decided_already(now: pl.DataFrame, changed: pl.Series, last: pl.DataFrame, policy_id: int) -> pl.Series:
    """(n,) True where this policy has decided under these inputs; asked only of whoever was decided before."""
    ids = _where(changed & last["policy_id"].is_not_null(), now)["customer_id"].to_list()
    found = set(bulk.values_in(Decision.objects.all(), ids, "customer_id", "input_version", "policy_id"))
    if not found:
        return pl.Series(np.zeros(now.height, dtype=bool))
    keys = zip(now["customer_id"].to_list(), now["input_version"].to_list(), strict=True)
    return pl.Series([(*key, policy_id) in found for key in keys])


def _where(mask: pl.Series, rows: pl.DataFrame) -> pl.DataFrame:
    return rows if mask.all() else rows.filter(mask)


def _write_headlines(now: pl.DataFrame, people: pl.DataFrame, headlines: pl.DataFrame | None) -> None:
    """Customer.current_offer and .priority where they differ, in one go with the other headlines if there are any."""
    rows = pl.DataFrame(
        [now["customer_id"].alias("id"), now["offer_id"].alias("current_offer_id"), now["priority"]]
    )
    if headlines is not None:
        rows = headlines.hstack([rows["current_offer_id"], rows["priority"]])
    else:
        kept = ("current_offer_id", "priority")
        differs = [pl.col(name).ne_missing(pl.col(f"last_{name}")) for name in kept]
        moved = _beside(rows, people, kept).select(pl.any_horizontal(differs)).to_series()
        rows = rows.filter(moved) if moved.any() else rows.clear()
    bulk.update(Customer, rows.columns, rows)
