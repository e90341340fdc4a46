"""What a played campaign measures, beside the truth: the effect of the campaign, and what other policies would bring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from segmentation.ml import experiments, off_policy

from .campaign import HOLDOUT, Played
from .clock import Floats
from .offers import OFFERS

POLICIES = ("one_gift", "best_guess", "only_recent")


@dataclass(frozen=True)
class Measured:
    """An estimate with its interval, and what it should have been."""

    value: float
    low: float
    high: float
    truth: float

    @property
    def is_covered(self) -> bool:
        return self.low <= self.truth <= self.high


def uplift(played: Played, *, adjusted: bool = False) -> Measured:
    """How much likelier the campaign made a purchase: given against held out; adjusted by earlier orders (CUPED)."""
    held = played.log["held_out"].to_numpy()
    bought = played.log["bought"].to_numpy().astype(np.float64)
    before = np.log1p(played.known["orders_365d"].to_numpy()) - np.log1p(
        played.known["recency_days"].to_numpy()
    )
    found = experiments.difference(
        bought[~held],
        bought[held],
        covariate_treated=before[~held] if adjusted else None,
        covariate_control=before[held] if adjusted else None,
    )
    change = played.with_offers("buys_with") - played.without("buys_without")[:, None]
    return Measured(found.value, found.low, found.high, float((played.chances * change).sum(axis=1).mean()))


def of_files(log: pl.DataFrame, truth: pl.DataFrame) -> Measured:
    """The same from the files of a shop; the truth is that of the offers as they were drawn."""
    held = log["held_out"].to_numpy()
    bought = log["bought"].to_numpy().astype(np.float64)
    found = experiments.difference(bought[~held], bought[held])
    given = log.filter(pl.col("offer").is_not_null()).join(truth, on=["customer_id", "offer"])
    change = (given["buys_with"] - given["buys_without"]).to_numpy()
    return Measured(found.value, found.low, found.high, float(change.mean()) if len(change) else float("nan"))


def log(played: Played, *, holdout: float = HOLDOUT) -> off_policy.Log:
    """The campaign's log for off-policy estimates; giving nothing is the last action."""
    names = [*OFFERS, None]
    action = np.array([names.index(name) for name in played.log["offer"].to_list()])
    nothing = np.full((len(action), 1), holdout)
    return off_policy.Log(
        action=action,
        chance=np.column_stack([played.chances * (1 - holdout), nothing]),
        reward=played.log["bought"].to_numpy().astype(np.float64),
        context=context(played),
    )


def context(played: Played) -> Floats:
    """(n, d) what the shop knows, bent a little so that straight lines fit it."""
    seen = played.known
    recency, orders, spend = (seen[name].to_numpy() for name in ("recency_days", "orders_365d", "spend_365d"))
    weekly = seen["newsletter"].to_numpy()
    return np.column_stack(
        [
            np.log1p(recency),
            np.log1p(orders),
            np.log1p(spend),
            np.log1p(orders) / (1 + recency / 30),
            seen["discounted_share"].to_numpy(),
            weekly == 0,
            weekly == 2,
            seen["household_size"].to_numpy(),
            seen["age_band"].to_numpy(),
        ]
    ).astype(np.float64)


def target(played: Played, policy: str) -> Floats:
    """(n, offers + 1) what another policy would do."""
    n, nothing = played.known.height, len(OFFERS)
    if policy == "one_gift":
        place = np.full(n, list(OFFERS).index("gift"))
    elif policy == "best_guess":
        place = played.chances.argmax(axis=1)
    elif policy == "only_recent":
        place = np.where(
            played.known["recency_days"].to_numpy() > 180, nothing, played.chances.argmax(axis=1)
        )
    else:
        raise ValueError(f"no policy {policy}")
    return np.eye(nothing + 1)[place]


def off_policy_estimates(played: Played, policy: str) -> dict[str, Measured]:
    """By estimator: the share that would buy under the policy. Truth: the mean of the true chances."""
    wanted = target(played, policy)
    answer = off_policy.estimate(log(played), wanted)
    chances = np.column_stack([played.with_offers("buys_with"), played.without("buys_without")])
    truth = float((wanted * chances).sum(axis=1).mean())
    return {
        name: Measured(found.value, found.low, found.high, truth) for name, found in answer.estimates.items()
    }
