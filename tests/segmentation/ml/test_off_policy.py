"""What another policy would have brought: known answers, honest intervals, and when there is no answer."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.ml import off_policy
from segmentation.ml.off_policy import Log, Refusal

SEEDS = 60
RATES = np.array([[0.1, 0.5], [0.6, 0.2]])  # by kind of customer and action


def test_estimates_of_four_decisions_are_those_worked_out_by_hand():
    log = Log(
        action=np.array([0, 0, 1, 1]),
        chance=np.array([[0.5, 0.5], [0.8, 0.2], [0.5, 0.5], [0.2, 0.8]]),
        reward=np.array([1.0, 0.0, 1.0, 0.0]),
    )
    always_first = np.tile([1.0, 0.0], (4, 1))
    assert off_policy.weights(log, always_first).tolist() == [2.0, 1.25, 0.0, 0.0]
    found = off_policy.estimate(log, always_first).estimates
    assert found["ips"].value == pytest.approx(2 / 4)
    assert found["snips"].value == pytest.approx(2 / 3.25)
    influence = np.array([2.0, 0, 0, 0]) - 0.5
    assert found["ips"].standard_error == pytest.approx(np.sqrt((influence**2).sum() * 4 / 3) / 4)


def drawn(seed: int, n: int = 600, *, confounded: bool = True) -> Log:
    """Two kinds of customers and two actions; the log gives each kind mostly what suits it."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    first = np.where(kind == 0, 0.2, 0.7) if confounded else np.full(n, 0.5)
    action = (rng.random(n) >= first).astype(int)
    return Log(
        action=action,
        chance=np.column_stack([first, 1 - first]),
        reward=(rng.random(n) < RATES[kind, action]).astype(float),
        context=np.column_stack([kind, rng.random(n)]).astype(float),
    )


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_hold_the_truth_and_estimates_lean_nowhere(name):
    """The log's mean is far from what the policy brings; the estimators are not."""
    truth = RATES[:, 0].mean()
    found = [
        off_policy.estimate(log, np.tile([1.0, 0.0], (len(log), 1))).estimates[name]
        for log in map(drawn, range(SEEDS))
    ]
    values = np.array([one.value for one in found])
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(SEEDS)
    assert np.mean([one.covers(truth) for one in found]) >= 0.88
    assert np.mean([log.reward.mean() for log in map(drawn, range(SEEDS))]) > truth + 0.07


def test_predictions_take_noise_away():
    log = drawn(1, n=4000)
    found = off_policy.estimate(log, np.tile([1.0, 0.0], (4000, 1))).estimates
    assert found["dr"].standard_error < 0.93 * found["ips"].standard_error


def test_the_policy_that_was_followed_brings_what_it_brought():
    log = drawn(2)
    answer = off_policy.estimate(log, log.chance)
    assert answer.estimates["ips"].value == pytest.approx(answer.logged.value)
    assert answer.estimates["snips"].value == pytest.approx(answer.logged.value)
    assert answer.gain.covers(0.0)
    assert answer.overlap.effective == pytest.approx(len(log))


def test_rows_of_one_customer_do_not_count_as_many():
    once = drawn(3, n=300)
    tenfold = Log(
        *(np.repeat(part, 10, axis=0) for part in (once.action, once.chance, once.reward, once.context)),
        whose=np.repeat(np.arange(300), 10),
    )
    target = np.tile([1.0, 0.0], (300, 1))
    alone = off_policy.estimate(once, target).estimates["ips"]
    together = off_policy.estimate(tenfold, np.repeat(target, 10, axis=0)).estimates["ips"]
    assert together.value == pytest.approx(alone.value)
    assert together.standard_error == pytest.approx(alone.standard_error, rel=1e-6)


def test_nothing_is_told_without_overlap_chance_or_rows():
    target = np.tile([0.0, 1.0], (600, 1))
    never = np.tile([1.0, 0.0], (600, 1))
    told = off_policy.overlap
    assert told(drawn(4), target).is_enough
    assert told(drawn(4, n=100), target[:100]).refusal == Refusal.TOO_FEW
    only_first = Log(np.zeros(600, int), never, np.zeros(600))
    assert told(only_first, never).refusal == Refusal.DETERMINISTIC
    some = np.where(np.arange(600)[:, None] < 300, [0.5, 0.5], [1.0, 0.0])
    found = told(Log(np.zeros(600, int), some, np.zeros(600)), target)
    assert (found.refusal, found.unseen) == (Refusal.NO_OVERLAP, 0.5)
    seldom = np.tile([0.99, 0.01], (600, 1))
    action = np.zeros(600, int)
    action[:6] = 1
    assert told(Log(action, seldom, np.zeros(600)), target).refusal == Refusal.THIN_OVERLAP
    assert told(Log(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0)), target[:0]).refusal == Refusal.TOO_FEW


@pytest.mark.parametrize(
    "wrong",
    [
        {"chance": np.ones((2, 2))},
        {"reward": np.array([np.nan, 0.0, 0.0])},
        {"chance": np.array([[0.0, 1.0]] * 3)},
        {"chance": np.ones(3)},
    ],
)
def test_a_log_that_makes_no_sense_is_refused(wrong):
    usual = {"action": np.zeros(3, int), "chance": np.tile([0.5, 0.5], (3, 1)), "reward": np.zeros(3)}
    with pytest.raises(ValueError, match="chance"):
        Log(**(usual | wrong))


def test_a_policy_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="chances"):
        off_policy.estimate(drawn(5), np.ones((600, 3)))
