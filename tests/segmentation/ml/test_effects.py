"""Uplift learners find a known effect, and Qini and AUUC are what they are by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.ml import artifacts, explanation, families
from segmentation.ml.blend import Blend
from segmentation.ml.config import TrainingConfig
from segmentation.ml.effects import judging, metrics
from segmentation.ml.effects.rows import PROPENSITY, TREATED, Assigned
from segmentation.ml.schema import Frame, LearningError, Target, columns_of

TARGET = Target(name="offer", kind="effect", horizon_days=30)
CONFIG = TrainingConfig(boosting_rounds=80, boosting_patience=10, seed=3)
LEARNERS = tuple(families.EFFECTS)
# Rank correlation with the true effect that each must reach on 6,000 rows with a holdout of 30 %.
FLOOR = 0.55


def rows(count: int, seed: int, share: float = 0.7) -> tuple[Frame, np.ndarray]:
    """Half of the customers (by `mood`) are moved by up to 40 points, the others not at all; and the true effects."""
    made = np.random.default_rng(seed)
    mood, habit, noise = made.normal(size=(3, count))
    country = made.choice(["DE", "FR", "GB"], count)
    effect = 0.4 * np.clip(mood, 0, 1)
    chance = 0.1 + 0.25 / (1 + np.exp(-habit))
    treated = (made.random(count) < share).astype(np.float64)
    bought = (made.random(count) < chance + treated * effect).astype(np.float64)
    x = pl.DataFrame({"mood": mood, "habit": habit, "noise": noise, "country": country})
    labels = {"offer": bought, TREATED: treated, PROPENSITY: np.full(count, share)}
    cutoffs = np.full(count, np.datetime64("2026-03-01"))
    return Frame(np.arange(count, dtype=np.int64), cutoffs, x, labels), effect


@pytest.fixture(scope="module")
def fitted():
    train, _ = rows(6000, 1)
    valid, _ = rows(1500, 2)
    made = {}
    for name in LEARNERS:
        made[name] = artifacts.create(name, targets=[TARGET], columns=columns_of(train.x), config=CONFIG)
        made[name].fit(train, valid)
    return made


@pytest.fixture(scope="module")
def unseen():
    return rows(5000, 9)


def score(model, frame: Frame) -> np.ndarray:
    return np.asarray(model.predict(frame)["offer"].mean)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_finds_whom_the_offer_moves(fitted, unseen, name):
    frame, effect = unseen
    said = score(fitted[name], frame)
    together = pl.DataFrame({"a": said, "b": effect}).select(pl.corr("a", "b", method="spearman")).item()
    assert together > FLOOR
    assert said.mean() == pytest.approx(effect.mean(), abs=0.05)
    assert np.abs(said).max() <= 1


def test_all_beat_random_and_the_likeliest_to_stay_away(fitted, unseen):
    """Whoever buys least is not whom the offer moves, so that order is no better than chance."""
    frame, effect = unseen
    scores = {name: score(model, frame) for name, model in fitted.items()}
    scores["churn_first"] = -frame.x["habit"].to_numpy()
    scores["truth"] = effect
    found = judging.judge(scores, frame, TARGET, rounds=200, seed=1)
    for name in LEARNERS:
        assert found[name]["metrics"]["qini"]["low"] > 0
        assert found[name]["differences"]["churn_first"]["qini"]["low"] > 0
        assert found[name]["metrics"]["qini"]["value"] <= found["truth"]["metrics"]["qini"]["value"] + 0.005
    assert (
        found["churn_first"]["metrics"]["qini"]["low"] < 0 < found["churn_first"]["metrics"]["qini"]["high"]
    )
    effect_told = found["x_learner"]["metrics"]["effect"]
    assert effect_told["low"] < effect.mean() < effect_told["high"]
    random = found["x_learner"]["baselines"]["random"]
    assert random["qini"]["value"] == 0
    assert random["auuc"]["value"] == pytest.approx(effect_told["value"] / 2)
    first, last = (found["x_learner"]["curves"]["bands"][band]["seen"] for band in (0, -1))
    assert first > 0.2 > last


@pytest.mark.parametrize("name", LEARNERS)
def test_a_stored_learner_answers_the_same(fitted, unseen, tmp_path, name):
    frame = unseen[0].take(np.arange(200))
    artifacts.save(fitted[name], tmp_path / "m")
    assert np.array_equal(score(artifacts.load(tmp_path / "m"), frame), score(fitted[name], frame))


def test_the_blend_names_what_moves_the_effect(fitted, unseen):
    frame = unseen[0].take(np.arange(300))
    blend = Blend(list(fitted.values()))
    names, shares = explanation.contributions(blend, frame, target="offer")
    assert names[np.abs(shares).mean(axis=0).argmax()] == "mood"
    assert explanation.method(blend).count(";") >= 2
    assert np.allclose(score(blend, frame), np.mean([score(m, frame) for m in fitted.values()], axis=0))


def test_weights_of_rare_classes_move_no_effect(unseen):
    train, _ = rows(1500, 4)
    said = []
    for how in ("none", "class_weights"):
        config = TrainingConfig(boosting_rounds=20, imbalance=how)
        model = artifacts.create("t_learner", targets=[TARGET], columns=columns_of(train.x), config=config)
        said.append(score(model.fit(train, train.take(np.arange(200))), unseen[0]))
    assert np.array_equal(*said)


def test_equal_seeds_give_equal_models(unseen):
    train, _ = rows(1500, 4)
    said = []
    for _ in range(2):
        model = artifacts.create("two_head", targets=[TARGET], columns=columns_of(train.x), config=CONFIG)
        said.append(score(model.fit(train, train.take(np.arange(300))), unseen[0]))
    assert np.array_equal(*said)


@pytest.mark.parametrize("name", ["t_learner", "x_learner", "class_transformation"])
def test_too_few_of_an_arm_are_told(name):
    train, _ = rows(200, 5)
    labels = {**train.labels, TREATED: np.r_[np.ones(190), np.zeros(10)]}
    few = Frame(train.ids, train.cutoffs, train.x, labels)
    with pytest.raises(LearningError, match="control"):
        artifacts.create(name, targets=[TARGET], columns=columns_of(few.x)).fit(few, few)


def test_an_arm_that_nobody_could_be_in_is_refused():
    train, _ = rows(200, 5)
    sure = Frame(train.ids, train.cutoffs, train.x, {**train.labels, PROPENSITY: np.ones(200)})
    with pytest.raises(LearningError, match="Hold some out"):
        Assigned.of(sure, TARGET)
    bare = Frame(train.ids, train.cutoffs, train.x, {"offer": train.labels["offer"]})
    with pytest.raises(LearningError, match="lack"):
        Assigned.of(bare, TARGET)


def test_a_known_learner_is_named():
    assert families.effects_chosen([]) == LEARNERS
    assert families.effects_chosen(["two_head", "t_learner"]) == ("t_learner", "two_head")
    with pytest.raises(LearningError, match="lightgbm"):
        families.effects_chosen(["lightgbm"])


def told(outcome, treated, share=0.5) -> Assigned:
    return Assigned(
        np.array(outcome, float), np.array(treated, float), np.full(len(outcome), share, dtype=float)
    )


def test_qini_by_hand():
    """Four customers, a pair for each score. The first pair: the treated bought, the other not, so uplift 1 at half;
    the second pair: both bought, so over all uplift 1 - 1/2 = 1/2. Area: 1/2·1/2·1/2 + 1/2·(1/2 + 1/2)/2 = 3/8.
    """
    arms = told([1, 0, 1, 1], [1, 0, 1, 0])
    order = np.array([2.0, 2.0, 1.0, 1.0])
    one = np.ones((1, 4))
    assert metrics.auuc(arms, order, one)[0] == pytest.approx(3 / 8)
    assert metrics.qini(arms, order, one)[0] == pytest.approx(3 / 8 - 1 / 4)
    assert metrics.qini(arms, -order, one)[0] == pytest.approx(-1 / 8)
    assert metrics.everybody(arms, one)[0] == pytest.approx(1 / 2)
    assert metrics.curve(arms, order)[20] == [0.5, 0.5]


def test_a_row_counted_twice_is_a_weight_of_two():
    arms = told([1, 0, 1, 1, 0], [1, 0, 1, 0, 0])
    order = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    again = np.array([0, 1, 1, 2, 3, 4])
    twice = Assigned(arms.outcome[again], arms.treated[again], arms.propensity[again])
    weights = np.array([[1, 2, 1, 1, 1]], dtype=float)
    assert metrics.qini(arms, order, weights)[0] == pytest.approx(
        metrics.qini(twice, order[again], np.ones((1, 6)))[0]
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=40))
def test_an_order_without_differences_is_random(people):
    arms = told([a for a, _, _ in people], [b for _, b, _ in people])
    one = np.ones((1, len(people)))
    assert metrics.qini(arms, np.zeros(len(people)), one)[0] == pytest.approx(0.0)
    # Only the order counts: any rising function of the score draws the same curve.
    given_ = np.array([c for _, _, c in people], float)
    assert metrics.curve(arms, given_) == metrics.curve(arms, np.exp(given_) * 7)
