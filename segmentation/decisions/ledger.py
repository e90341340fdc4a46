"""What was given is written down, one row an offer: opened when a customer gets it, closed when they no longer have it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from segmentation import bulk
from segmentation.decisions.circumstances import OF_CANDIDATE, Circumstances
from segmentation.decisions.codes import GIVEN
from segmentation.decisions.limits import Allowance
from segmentation.decisions.policy import Candidate, Policy
from segmentation.decisions.triggers import NEVER
from segmentation.decisions.verdicts import Judged
from segmentation.models import Grant, OfferCode
from segmentation.stages import stage

_COLUMNS: Final = (
    "id",
    "customer_id",
    "campaign_id",
    "offer_id",
    "rule",
    "channel",
    "is_counted",
    "granted_at",
    "triggered_at",
    "valid_until",
    "code",
    "cost_minor",
    "propensity",
)


@stage("ledger")
def write(
    ids: Sequence[int], judged: Judged, policy: Policy, around: Circumstances, allowance: Allowance
) -> np.ndarray:
    """Close and open grants so that they say what was judged; returns (n,) True where somebody got something new.

    Needs the customers' rows locked. Who had the offer before it was counted is entered as of now.
    """
    given = np.isin(judged.codes[:, : len(policy.candidates)], GIVEN)
    renewed = judged.renewed if judged.renewed is not None else np.zeros_like(given)
    allowance.write()
    _close(_over(given & ~renewed, policy, around), around.at)
    news = np.zeros(len(ids), dtype=bool)
    parts = []
    for index, candidate in enumerate(policy.candidates):
        if candidate.campaign.id not in policy.counted:
            continue
        fresh = np.flatnonzero(given[:, index] & (~around.held[:, index] | renewed[:, index]))
        if len(fresh):
            news[fresh] = True
            parts.append(_made(fresh, np.asarray(ids), candidate, index, judged, around, allowance))
    if parts:
        _store(pl.concat(parts))
    return news


def _store(rows: pl.DataFrame) -> None:
    rows = rows.hstack([pl.Series("id", bulk.new_ids(Grant, rows.height), dtype=pl.Int64)])
    bulk.insert(Grant, _COLUMNS, rows)
    if rows["code_id"].null_count() == rows.height:
        return
    used = rows.filter(pl.col("code_id").is_not_null())
    codes = used.select(
        pl.col("code_id").alias("id"), pl.col("id").alias("grant_number"), is_used=pl.lit(True)
    )
    bulk.update(OfferCode, codes.columns, codes)


def _over(given: np.ndarray, policy: Policy, around: Circumstances) -> list[int]:
    """Ids of open grants whose customer does not have that offer of that campaign any longer (or has it anew).

    Two people who were merged may both have brought it along: the person keeps it once, as long as the longer of both.
    """
    if around.grants.is_empty():
        return []
    open_ = around.grants["id"].to_numpy()[around.grants["is_open"].to_numpy()]
    valid = around.grants.lazy().filter(pl.col("is_open") & (pl.col("valid_until") >= around.today))
    found = valid.join(policy.places.lazy(), on=list(OF_CANDIDATE)).sort("valid_until", "id").collect()
    found = found.unique(["row", "place"], keep="last", maintain_order=True)
    has = given[found["row"].to_numpy(), found["place"].to_numpy()]
    return list(np.setdiff1d(open_, found["id"].to_numpy()[has]).tolist())


def _close(grants: Sequence[int], at: datetime) -> None:
    bulk.update(Grant, ("id", "ended_at"), [(pk, at) for pk in grants])


def _made(
    rows: np.ndarray,
    ids: np.ndarray,
    candidate: Candidate,
    index: int,
    judged: Judged,
    around: Circumstances,
    allowance: Allowance,
) -> pl.DataFrame:
    """A grant for each of these rows (k,), each with its code where there is a pool."""
    campaign, offer = candidate.campaign, candidate.offer
    moments = around.trigger_moment(campaign.id)
    pool = allowance.codes.get(index, [])
    until = around.today + timedelta(days=offer.valid_days)
    count = len(rows)
    chances = np.full(count, np.nan) if judged.propensity is None else judged.propensity[rows, index]
    triggered = np.full(count, NEVER) if moments is None else moments[rows]
    return pl.DataFrame(
        {
            "customer_id": pl.Series(ids[rows], dtype=pl.Int64),
            "triggered_at": pl.Series(triggered, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "propensity": pl.Series(chances, dtype=pl.Float64, nan_to_null=True).fill_nan(None),
            "code": pl.Series([code for _pk, code in pool] or [""] * count, dtype=pl.String),
            "code_id": pl.Series([pk for pk, _code in pool] or [None] * count, dtype=pl.Int64),
        }
    ).with_columns(
        campaign_id=pl.lit(campaign.id, pl.Int64),
        offer_id=pl.lit(offer.id, pl.Int64),
        rule=pl.lit(candidate.rule_id, pl.Int64),
        channel=pl.lit(campaign.channel),
        is_counted=pl.lit(not campaign.ignores_caps),
        granted_at=pl.lit(around.at).dt.convert_time_zone("UTC"),
        valid_until=pl.lit(until if offer.ends_on is None else min(until, offer.ends_on)),
        cost_minor=pl.lit(offer.cost_minor, pl.Int64),
    )
