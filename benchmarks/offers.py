"""Whether measured uplift, off-policy estimates and a budgeted choice are right, where the truth is known.

    python -m benchmarks.offers [--only coverage budget] [--seeds 200] [--customers 4000] [--budget-seeds 20] [--quick]

Shops are simulated with known responses to three offers (docs/simulator.md). *coverage*: how often the 95 % interval of
the measured uplift, and of each off-policy estimate, holds the truth. *budget*: what a quarter of the money that offers
for everybody would cost brings, given by learned uplift for the money, beside random, oracle and "highest tier first";
half of the customers are learned from, the other half is given to. Writes benchmarks/results/offers.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from segmentation.simulator.campaign import Played

RESULTS = Path(__file__).parent / "results" / "offers.json"
END = date(2025, 7, 1)
MONTHS = 12
# What a purchase earns, in pounds; and the budget, as a share of what one offer for everybody would cost on average.
MARGIN, BUDGET = 18.0, 0.25
RANDOM_DRAWS = 20
LEARNERS = ("ridge", "t_learner", "x_learner", "class_transformation", "two_heads")
PARTS = ("coverage", "budget")
Row = dict[str, Any]


def main() -> None:
    options = _options()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    started = time.process_time()
    rows: list[Row] = []
    if "coverage" in options.only:
        rows += coverage(options.seeds, options.customers)
    if "budget" in options.only:
        rows += budgets(options.budget_seeds, options.budget_customers, options.learners)
    command = _command(options)
    for row in rows:
        row["command"] = command
        print(_line(row))
    if not options.quick:
        _keep(rows, options.only)
    print(f"{time.process_time() - started:.0f} s of processor time: {command}")


def coverage(seeds: int, customers: int) -> list[Row]:
    """Share of seeds in which each interval holds the truth, with Wilson's interval of that share."""
    from segmentation.simulator import measured

    held: dict[str, list[bool]] = defaultdict(list)
    off: dict[str, list[float]] = defaultdict(list)
    width: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        played = _shop(seed, customers)
        for name, found in _estimates(measured, played).items():
            held[name].append(found.is_covered)
            off[name].append(found.value - found.truth)
            width[name].append(found.high - found.low)
    out = []
    for name, hits in held.items():
        low, high = _wilson(sum(hits), len(hits))
        out.append(
            {
                "part": "coverage",
                "what": name,
                "value": float(np.mean(hits)),
                "low": low,
                "high": high,
                "bias": float(np.mean(off[name])),
                "width": float(np.mean(width[name])),
                "seeds": seeds,
                "customers": customers,
            }
        )
    return out


def _estimates(measured: Any, played: Played) -> dict[str, Any]:
    found = {
        "uplift against the holdout": measured.uplift(played),
        "the same, adjusted (CUPED)": measured.uplift(played, adjusted=True),
    }
    for policy in measured.POLICIES:
        for name, one in measured.off_policy_estimates(played, policy).items():
            found[f"{policy}, {name}"] = one
    return found


def budgets(seeds: int, customers: int, learners: Sequence[str]) -> list[Row]:
    """Of each learner: how far from random to oracle, and how much more than the highest tier first, over the seeds."""
    far: dict[str, list[float]] = defaultdict(list)
    more: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        trial = _Trial(_shop(seed, customers), seed)
        random, oracle, tier = trial.random(), trial.oracle(), trial.tier_first()
        for name in learners:
            mine = trial.net(trial.by_budget(trial.learned(name)))
            far[name].append((mine - random) / (oracle - random))
            more[name].append((mine - tier) / (oracle - random))
        far["what can be seen at all"].append(
            (trial.net(trial.by_budget(trial.best_visible())) - random) / (oracle - random)
        )
        far["highest tier first"].append((tier - random) / (oracle - random))
    rows = [_mean_row("way from random to oracle", name, values, customers) for name, values in far.items()]
    return rows + [
        _mean_row("more than highest tier first", name, values, customers) for name, values in more.items()
    ]


class _Trial:
    """One shop: half of it a pilot to learn from, a budget for the other half."""

    def __init__(self, played: Played, seed: int) -> None:
        from segmentation.simulator import measured
        from segmentation.simulator.offers import OFFERS

        self._rng = np.random.default_rng(seed)
        self._x = measured.context(played)
        self._action = measured.log(played).action
        self._bought = played.log["bought"].to_numpy().astype(np.float64)
        self._chance = measured.log(played).chance
        self._pilot = self._rng.random(len(self._x)) < 0.5
        change = played.with_offers("buys_with") - played.without("buys_without")[:, None]
        self._change = change
        self.truth = change[~self._pilot]
        self._spend = played.known["spend_365d"].to_numpy()[~self._pilot]
        self._price = np.array([offer.cost for offer in OFFERS.values()])
        self.cost = np.tile(self._price, (len(self.truth), 1))
        self.purse = BUDGET * float(self.cost.mean(axis=1).sum())

    def net(self, option: np.ndarray) -> float:
        """True expected margin less cost of giving each row its option."""
        rows = np.flatnonzero(option >= 0)
        picked = rows, option[rows]
        return float((self.truth[picked] * MARGIN - self.cost[picked]).sum())

    def by_budget(self, uplift: np.ndarray) -> np.ndarray:
        from segmentation.ml import budget

        return budget.allocate(uplift * MARGIN, self.cost, self.purse).option

    def oracle(self) -> float:
        return self.net(self.by_budget(self.truth))

    def random(self) -> float:
        """Anybody, any offer, until the money ends; the mean of several draws."""
        n, k = self.truth.shape
        draws = [
            self.net(self._until_spent(self._rng.permutation(n), self._rng.integers(0, k, n)))
            for _ in range(RANDOM_DRAWS)
        ]
        return float(np.mean(draws))

    def tier_first(self) -> float:
        """Who spent most first, with the offer that brought most for the money in the pilot."""
        nothing = self._bought[self._pilot & (self._action == len(self._price))].mean()
        brought = [
            self._bought[self._pilot & (self._action == place)].mean() - nothing
            for place in range(len(self._price))
        ]
        best = int(np.argmax(np.array(brought) * MARGIN / self._price))
        order = np.argsort(-self._spend, kind="stable")
        return self.net(self._until_spent(order, np.full(len(order), best)))

    def learned(self, learner: str) -> np.ndarray:
        """(n, offers) uplift that a learner expects of who is given to, from the pilot's outcomes."""
        if learner == "ridge":
            return self._ridges()
        return np.column_stack([self._effect(learner, place) for place in range(len(self._price))])

    def best_visible(self) -> np.ndarray:
        """(n, offers) the true uplift as far as it follows from what can be seen: no learner gets beyond it."""
        from lightgbm import LGBMRegressor

        found = [
            LGBMRegressor(n_estimators=150, num_leaves=15, learning_rate=0.06, verbose=-1, n_jobs=1)
            .fit(self._x[self._pilot], self._change[self._pilot, place])
            .predict(self._x[~self._pilot])
            for place in range(len(self._price))
        ]
        return np.column_stack(found)

    def _until_spent(self, order: np.ndarray, option: np.ndarray) -> np.ndarray:
        spent = self.cost[order, option[order]].cumsum()
        got = order[: int(np.searchsorted(spent, self.purse, side="right"))]
        out = np.full(len(option), -1)
        out[got] = option[got]
        return out

    def _ridges(self) -> np.ndarray:
        """A straight line for each offer and for nothing."""
        from sklearn.linear_model import Ridge
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(self._x[self._pilot])
        seen, asked = scaler.transform(self._x), scaler.transform(self._x[~self._pilot])
        expected = []
        for place in range(len(self._price) + 1):
            rows = self._pilot & (self._action == place)
            expected.append(Ridge(0.02 * rows.sum()).fit(seen[rows], self._bought[rows]).predict(asked))
        return np.column_stack(expected[:-1]) - expected[-1][:, None]

    def _effect(self, learner: str, place: int) -> np.ndarray:
        from segmentation.ml.config import TrainingConfig
        from segmentation.ml.schema import Column, Target

        nothing = len(self._price)
        rows = np.flatnonzero(self._pilot & np.isin(self._action, (place, nothing)))
        target = Target(name="effect", kind="effect")
        columns = [Column(name=f"x{number}", kind="numeric") for number in range(self._x.shape[1])]
        model = _learner(learner)(targets=[target], columns=columns, config=TrainingConfig(seed=1))
        held = self._rng.random(len(rows)) < 0.15
        model.fit(self._frame(rows[~held], place), self._frame(rows[held], place))
        asked = self._frame(np.flatnonzero(~self._pilot), place)
        return np.asarray(model.predict(asked)["effect"].mean)

    def _frame(self, rows: np.ndarray, place: int) -> Any:
        import polars as pl

        from segmentation.ml.effects.rows import PROPENSITY, TREATED
        from segmentation.ml.schema import Frame

        both = self._chance[rows][:, [place, len(self._price)]]
        return Frame(
            ids=rows,
            cutoffs=np.full(len(rows), np.datetime64(END, "D")),
            x=pl.DataFrame({f"x{number}": self._x[rows, number] for number in range(self._x.shape[1])}),
            labels={
                "effect": self._bought[rows],
                TREATED: (self._action[rows] == place).astype(np.float64),
                PROPENSITY: both[:, 0] / both.sum(axis=1),
            },
        )


def _learner(name: str) -> Callable[..., Any]:
    from segmentation.ml.effects import learners, network

    known = {cls.name: cls for cls in (learners.TLearner, learners.XLearner, learners.ClassTransformation)}
    return known.get(name, network.TwoHeadEstimator)


def _shop(seed: int, customers: int) -> Played:
    from segmentation.simulator import SimulationConfig, campaign

    return campaign.play(SimulationConfig(customers=customers, months=MONTHS, seed=seed, end=END))


def _mean_row(part: str, name: str, values: Sequence[float], customers: int) -> Row:
    """Mean over seeds and its 95 % interval."""
    from scipy import stats

    mean, n = float(np.mean(values)), len(values)
    reach = (
        float(stats.t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    )
    return {
        "part": part, "what": name, "value": mean, "low": mean - reach, "high": mean + reach, "seeds": n,
        "customers": customers,
    }  # fmt: skip


def _wilson(hits: int, n: int) -> tuple[float, float]:
    z, share = 1.96, hits / n
    middle, whole = share + z * z / (2 * n), 1 + z * z / n
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - reach) / whole, (middle + reach) / whole


def _line(row: Row) -> str:
    more = f"  bias {row['bias']:+.4f}  width {row['width']:.4f}" if "bias" in row else ""
    return f"{row['part']:<28} {row['what']:<28} {row['value']:7.1%} [{row['low']:6.1%}, {row['high']:6.1%}]{more}"


def _keep(rows: list[Row], only: Sequence[str]) -> None:
    """Parts that were not measured this time stay as they were."""
    there = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    kept = [row for row in there if ("coverage" if row["part"] == "coverage" else "budget") not in only]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([*kept, *rows], indent=1) + "\n")


def _command(options: argparse.Namespace) -> str:
    return (
        f"python -m benchmarks.offers --only {' '.join(options.only)} --seeds {options.seeds} --customers "
        f"{options.customers} --budget-seeds {options.budget_seeds} --budget-customers {options.budget_customers} "
        f"--learners {' '.join(options.learners)}"
    )


def _options() -> argparse.Namespace:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    given.add_argument("--seeds", type=int, default=200)
    given.add_argument("--customers", type=int, default=4_000)
    given.add_argument("--budget-seeds", type=int, default=20)
    given.add_argument("--budget-customers", type=int, default=20_000)
    given.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    given.add_argument("--quick", action="store_true", help="print only; results stay as they are")
    return given.parse_args()


if __name__ == "__main__":
    main()
