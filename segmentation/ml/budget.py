"""Where a budget does most: several priced options a customer, at most one each, as much expected gain as the money buys.

The multiple-choice knapsack by its convex hulls (Sinha and Zoltners, "The Multiple-Choice Knapsack Problem", Operations
Research 27, 1979): each customer's options become steps of falling gain for the money, the steps of all customers are
taken best first until the money ends. That is the best possible but for what one step costs, and it has a price: at
`price` units of gain for a unit of money everybody finds their own option, without looking at anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

NOBODY: Final = -1
# An option that brings less than it costs is taken by nobody, however much money is left.
PAYS: Final = 1.0


@dataclass(frozen=True, eq=False)
class Allocation:
    """option (n,): the column that each row gets, -1 for none. price: gain for each unit of money of the last step
    that was bought; None where the money reaches everybody. last: the row of that step, -1 without one.

    reached and wanted: rows that get something, and that would with all the money in the world. spent, gain: of those
    reached.
    """

    option: np.ndarray
    price: float | None
    last: int
    reached: int
    wanted: int
    spent: float
    gain: float


def allocate(
    gain: np.ndarray, cost: np.ndarray, budget: float, *, open_: np.ndarray | None = None, weight: float = 1.0
) -> Allocation:
    """gain (n, k) and cost (n, k) in the same money, gain before the cost; open_ (n, k) False where an option cannot be
    had. weight: customers that each row stands for; costs count so often against the budget.
    """
    can = np.ones(gain.shape, dtype=bool) if open_ is None else open_
    rows, options, step_cost, step_gain = _steps(gain, cost, can)
    worth = _per_money(step_gain, step_cost)
    order = np.argsort(-worth, kind="stable")
    spent = np.cumsum(step_cost[order]) * weight
    bought = order[: int(np.searchsorted(spent, budget * (1 + 1e-12), side="right"))]
    option = np.full(len(gain), NOBODY, dtype=np.int64)
    option[rows[bought]] = options[bought]  # steps of a row are in order, so the last one bought stays
    has = np.flatnonzero(option != NOBODY)
    everybody = len(bought) == len(order)
    # Where no money is spent, the first step that is too dear is the border: what costs nothing has no price.
    paid = len(bought) > 0 and bool(np.isfinite(worth[bought[-1]]))
    border = NOBODY if everybody else (bought[-1] if paid else order[len(bought)])
    return Allocation(
        option=option,
        price=None if everybody else float(worth[border]),
        last=NOBODY if everybody else int(rows[border]),
        reached=len(has),
        wanted=len(np.unique(rows)),
        spent=float(cost[has, option[has]].sum()) * weight,
        gain=float(gain[has, option[has]].sum()) * weight,
    )


def at_price(gain: np.ndarray, cost: np.ndarray, price: float | None) -> np.ndarray:
    """(n, k) what each option is worth at a price, at least what it costs: the highest is taken, if it is not below 0."""
    return gain - max(PAYS, price or PAYS) * cost


def _steps(
    gain: np.ndarray, cost: np.ndarray, can: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, options, costs and gains of every step up a row's hull that pays for itself, a row's steps in their order."""
    n, k = gain.shape
    at_cost, at_gain = np.zeros(n), np.zeros(n)
    live = np.arange(n)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for _step in range(k):
        more_cost = cost[live] - at_cost[live, None]
        more_gain = gain[live] - at_gain[live, None]
        up = can[live] & (more_cost >= 0) & (more_gain > more_cost)
        worth = np.where(up, _per_money(more_gain, more_cost), -np.inf)
        best = worth.argmax(axis=1)
        rises = np.isfinite(worth.max(axis=1)) | (worth.max(axis=1) == np.inf)
        live, best = live[rises], best[rises]
        if not len(live):
            break
        picked = np.flatnonzero(rises), best
        found.append((live, best, more_cost[picked], more_gain[picked]))
        at_cost[live], at_gain[live] = cost[live, best], gain[live, best]
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, np.zeros(0), np.zeros(0)
    rows, options, costs, gains = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, options, costs, gains


def _per_money(gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Gain for each unit of money; infinite where it costs nothing."""
    return np.where(cost > 0, gain / np.where(cost > 0, cost, 1.0), np.inf)
