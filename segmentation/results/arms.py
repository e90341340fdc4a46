"""Who of a campaign's customers was meant to get its offer, who was held out, and since when: from stored decisions.

Whoever is held out fitted the campaign (see decisions/codes.py: the holdout is asked after rule, trigger, offer and
consent, and before everything that depends on other campaigns, budgets and hours). So the treated are all who fitted
as far and were not held out, whether or not they got anything in the end: intention to treat. A customer belongs to
the arm of their first such decision and stays there, whatever happens later: another draw, another offer, a merge.
"""

# Names in the statements come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from django.db import connection

from segmentation import columns, packed
from segmentation.decisions.codes import GIVEN, Verdict
from segmentation.features.days import midnight
from segmentation.features.selection import Customers, Selection, select, within
from segmentation.models import Decision, PolicyVersion, Shop

TREATED, HELD_OUT, HELD_OUT_OF_ALL = 0, 1, 2
# Asked after the holdout: whoever has one of these fitted and was not held out.
ASSIGNED: Final = (
    Verdict.WON,
    Verdict.OUTRANKED,
    Verdict.RE_ENTRY_WAIT,
    Verdict.CAPPED,
    Verdict.OUTSIDE_HOURS,
    Verdict.BUDGET_GONE,
    Verdict.OFFER_GONE,
    Verdict.CUSTOMER_LIMIT,
    Verdict.NO_CODE,
    Verdict.EXCLUDED,
    Verdict.BESIDE,
    Verdict.NOT_CHOSEN,
    Verdict.BELOW_FLOOR,
    Verdict.KEPT,
    Verdict.NOT_WORTH,
)
ARMS: Final[dict[str, type[pl.DataType] | pl.DataType]] = {
    "customer_id": pl.Int64,
    "since": pl.Datetime("us", "UTC"),
    "arm": pl.Int8,
    "is_given": pl.Boolean,
    "given_at": pl.Datetime("us", "UTC"),
    "cost_minor": pl.Int64,
    "share": pl.Float64,
    "all_share": pl.Float64,
}
_FIELDS: Final = (
    columns.Field("customer_id", "int8"),
    columns.Field("id", "int8"),
    columns.Field("policy_id", "int8"),
    columns.Field("decided_at", "timestamptz"),
    columns.Field("day", "date"),
    columns.Field("told", "text"),
)


@dataclass(frozen=True)
class Places:
    """Where a policy's verdicts speak of the campaign, what each of those rules' offers costs, and for each the chance
    of not being held out by its campaign's draw, and which campaign that is. all_share: of not being held out of all.
    """

    positions: tuple[int, ...]
    costs: tuple[int, ...]
    shares: tuple[float, ...]
    campaigns: tuple[int, ...]
    all_share: float = 1.0


def places(*, campaign: int | None = None, offer: int | None = None) -> dict[int, Places]:
    """Policy id → places of the campaign's rules, or of every rule that gives the offer, in each policy that has any."""
    found = {}
    stored = PolicyVersion.objects.order_by("pk").values_list("pk", "content")
    for key, content in stored.iterator(chunk_size=50):
        rules = [(one, rule) for one in content.get("campaigns", ()) for rule in one["rules"]]
        own = [
            (index, rule["offer"].get("cost_minor", 0), 1 - _percent(one.get("holdout")), one["id"])
            for index, (one, rule) in enumerate(rules)
            if (campaign is None or one["id"] == campaign) and (offer is None or rule["offer"]["id"] == offer)
        ]
        if own:
            all_share = 1 - _percent(content.get("global_holdout"))
            positions, costs, shares, campaigns = zip(*own, strict=True)
            found[key] = Places(positions, costs, shares, campaigns, all_share)
    return found


def _percent(draw: Mapping[str, Any] | None) -> float:
    """The share that a stored draw holds out."""
    return float((draw or {}).get("percent", 0)) / 100


def read(customers: Customers, known: Mapping[int, Places], *, shop: Shop) -> pl.DataFrame:
    """A frame of ARMS, by customer: one row for each of these survivors who came into the campaign.

    What was decided for a customer who was merged since counts for the survivor: the earlier decision says the arm.
    given_at, cost_minor: of the offer that was given first; null and 0 where none was. share: the chance with which the
    campaign's own draw would have left the customer in, as the draw was then; all_share: that of the draw for all.
    """
    selection = select(customers)
    rows = _decisions(selection, sorted(known))
    if selection.hidden:
        rows = rows.filter(~pl.col("customer_id").is_in(list(selection.hidden)))
    if selection.absorbed:
        rows = rows.with_columns(pl.col("customer_id").replace(selection.absorbed))
    judged = [_judged(part, known[key]) for key, part in _by_policy(rows)]
    if not judged:
        return pl.DataFrame(schema=ARMS)
    told = pl.concat(judged).filter(pl.col("arm").is_not_null())
    since = _instants(told, shop)
    return (
        told.with_columns(since.alias("since"))
        .sort("customer_id", "since", "id")
        .group_by("customer_id", maintain_order=True)
        .agg(
            pl.col("since").first(),
            pl.col("arm").first(),
            pl.col("is_given").any(),
            pl.col("since").filter(pl.col("is_given")).first().alias("given_at"),
            pl.col("cost_minor").filter(pl.col("is_given")).first().fill_null(0),
            pl.col("share", "all_share").first(),
        )
        .select(pl.col(name).cast(kind) for name, kind in ARMS.items())
    )


def _instants(told: pl.DataFrame, shop: Shop) -> pl.Series:
    """When it was decided; for a shop whose day is set back, the start of that day."""
    if shop.frozen_on is None:
        return told["decided_at"]
    days = {day: midnight(day - timedelta(days=1), shop.zone) for day in told["day"].unique().to_list()}
    return told["day"].replace_strict(days, return_dtype=pl.Datetime("us", "UTC"))


def _decisions(selection: Selection, policies: list[int]) -> pl.DataFrame:
    table = connection.ops.quote_name(Decision._meta.db_table)
    told = "encode(verdicts, 'hex')" if connection.vendor == "postgresql" else "hex(verdicts)"
    ours, values = within("policy_id", policies)
    parts = []
    for part in selection.parts() if policies else ():
        whose, ids = within("customer_id", part)
        inner = (
            f"SELECT customer_id, id, policy_id, decided_at, as_of AS day, {told} AS told FROM {table} "
            f"WHERE {whose} AND {ours}"
        )
        parts.append(columns.read(_FIELDS, f"FROM ({inner}) d ORDER BY customer_id, id", [*ids, *values]))
    return columns.together(_FIELDS, parts)


def _by_policy(rows: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    for part in rows.partition_by("policy_id", maintain_order=True):
        yield part["policy_id"][0], part


def _judged(rows: pl.DataFrame, where: Places) -> pl.DataFrame:
    """arm null where the customer did not fit or was not asked.

    Of several campaigns that give an offer each draws for itself: who is left in by one of them is meant to get it.
    """
    codes = _codes(rows["told"])[:, where.positions]
    asked = np.isin(codes, [int(code) for code in (*ASSIGNED, Verdict.HELD_OUT_CAMPAIGN)])
    given = np.isin(codes, [int(code) for code in GIVEN])
    arm = np.full(len(codes), -1, dtype=np.int8)
    arm[(codes == Verdict.HELD_OUT_CAMPAIGN).any(axis=1)] = HELD_OUT
    arm[np.isin(codes, [int(code) for code in ASSIGNED]).any(axis=1)] = TREATED
    arm[(codes == Verdict.HELD_OUT_GLOBAL).any(axis=1)] = HELD_OUT_OF_ALL
    costs = np.asarray(where.costs, dtype=np.int64)[given.argmax(axis=1)]
    return rows.select("customer_id", "id", "decided_at", "day").with_columns(
        pl.Series("arm", arm).set(pl.Series(arm < 0), None),
        pl.Series("is_given", given.any(axis=1)),
        pl.Series("cost_minor", costs),
        pl.Series("share", _shares(asked, where)),
        pl.lit(where.all_share).alias("all_share"),
    )


def _shares(asked: np.ndarray, where: Places) -> np.ndarray:
    """(n,) the chance that a draw of those campaigns which asked leaves the customer in; of all where none did."""
    out = np.ones(len(asked))
    none = ~asked.any(axis=1)
    for campaign in sorted(set(where.campaigns)):
        own = [place for place, one in enumerate(where.campaigns) if one == campaign]
        out[asked[:, own].any(axis=1) | none] *= 1 - where.shares[own[0]]
    return 1 - out


def _codes(told: pl.Series) -> np.ndarray:
    """(n, verdicts) of rows of one policy."""
    content, starts = packed.joined(told.str.decode("hex"))
    width = int(starts[1] - starts[0]) if len(starts) > 1 else 0
    return content.reshape(len(told), width)
