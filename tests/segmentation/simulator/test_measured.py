"""The proof in short: over many small shops the intervals hold the truth as often as they say.

The full form is `python -m benchmarks.offers --only coverage` (docs/simulator.md).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date

import numpy as np
import pytest

from segmentation.simulator import SimulationConfig, campaign, measured

SEEDS, CUSTOMERS = 200, 1_000
# Of the issue: a 95 % interval holds the truth in 90 to 99 % of the seeds.
LEAST, MOST = 0.90, 0.99


@pytest.fixture(scope="module")
def found():
    out = defaultdict(list)
    for seed in range(SEEDS):
        played = campaign.play(
            SimulationConfig(customers=CUSTOMERS, months=6, seed=seed, end=date(2025, 7, 1))
        )
        out["uplift"].append(measured.uplift(played))
        out["uplift, adjusted"].append(measured.uplift(played, adjusted=True))
        for policy in measured.POLICIES:
            for name, one in measured.off_policy_estimates(played, policy).items():
                out[f"{policy}, {name}"].append(one)
    return out


def test_intervals_hold_the_truth_as_often_as_they_say(found):
    held = {name: np.mean([one.is_covered for one in every]) for name, every in found.items()}
    assert len(held) == 2 + 3 * len(measured.POLICIES)
    assert {name: share for name, share in held.items() if not LEAST <= share <= MOST} == {}


def test_estimates_lean_to_no_side(found):
    for name, every in found.items():
        off = np.array([one.value - one.truth for one in every])
        assert abs(off.mean()) < 3.5 * off.std() / np.sqrt(SEEDS), name


def test_adjusting_and_predicting_make_intervals_narrower(found):
    width = {name: np.mean([one.high - one.low for one in every]) for name, every in found.items()}
    assert width["uplift, adjusted"] < width["uplift"]
    for policy in measured.POLICIES:
        assert width[f"{policy}, dr"] < width[f"{policy}, ips"]


def test_a_policy_that_nobody_knows_is_an_error():
    played = campaign.play(SimulationConfig(customers=50, months=3, seed=1, end=date(2025, 7, 1)))
    with pytest.raises(ValueError, match="no policy"):
        measured.target(played, "x")
