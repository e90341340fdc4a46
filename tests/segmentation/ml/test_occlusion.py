"""Reasons of learners that have no method of their own: what an answer loses once a value is a usual one."""

import numpy as np
import polars as pl
import pytest

from segmentation.ml import explanation, lime, occlusion
from segmentation.ml.blend import Blend
from segmentation.ml.schema import target_named
from segmentation.ml.sequences import AGE, GAP, Sequences
from tests.segmentation.ml.conftest import created

OTHERS = ("rfm", "linear_svm", "rbf_svm", "decision_tree", "random_forest")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("target", ["churn", "value_tier", "future_value"])
def test_every_learner_gives_reasons_and_names_how(name, target, shop):
    fitted = _fitted(name, shop)
    of_class = 2 if target == "value_tier" else None
    names, shares = explanation.contributions(
        fitted, shop.test.take(np.arange(40)), target=target, of_class=of_class
    )
    assert shares.shape == (40, len(names))
    assert np.isfinite(shares).all()
    assert np.abs(shares).max() > 0.05
    assert explanation.methods_of(fitted) == ("occlusion",)


_MADE = {}


def _fitted(name, shop):
    if name not in _MADE:
        _MADE[name] = created(name, shop, forest_trees=10, kernel_rows=200).fit(shop.train, shop.valid)
    return _MADE[name]


def test_a_share_is_what_the_answer_loses(shop):
    fitted, rows = _fitted("decision_tree", shop), shop.test.take(np.arange(60))
    names, shares = explanation.contributions(fitted, rows, target="churn")
    column = names[int(np.abs(shares).sum(axis=0).argmax())]
    usual = occlusion._usual(fitted)[column]
    assert usual == pytest.approx(float(shop.train.x[column].median()), rel=0.1)
    changed = shop.test.take(np.arange(60))
    others = [other for other in names if other.rsplit("_", 1)[0] == column.rsplit("_", 1)[0]]
    assert others == [column]
    object.__setattr__(changed, "x", rows.x.with_columns(pl.lit(usual).alias(column)))
    churn = target_named(fitted.targets, "churn").name
    before, after = (occlusion.scores(fitted.predict(frame)[churn], 1) for frame in (rows, changed))
    assert np.allclose(shares[:, names.index(column)], before - after)


def test_a_blend_with_such_a_member_has_reasons_too(shop):
    members = [_fitted("decision_tree", shop), created("logistic", shop).fit(shop.train, shop.valid)]
    blend, rows = Blend(members), shop.test.take(np.arange(5))
    names, shares = explanation.contributions(blend, rows, target="churn")
    parts = [explanation.contributions(member, rows, target="churn") for member in members]
    expected = sum(
        np.stack([part[:, own.index(name)] if name in own else np.zeros(5) for name in names], axis=1) / 2
        for own, part in parts
    )
    assert np.allclose(shares, expected)
    assert explanation.methods_of(blend) == ("occlusion", "logistic")


def test_a_reader_of_events_says_which_kind_of_event_moved_it(shop):
    fitted = created("gru", shop, epochs=2, encoder_width=8, sequence_events=6).fit(shop.train, shop.valid)
    rows = shop.test.take(np.arange(8))
    names, shares = explanation.contributions(fitted, rows, target="churn")
    told = [name for name in names if occlusion.is_events(name)]
    assert told
    kind = int(told[0].removeprefix(occlusion.EVENTS))
    without = rows.events.without(rows.events.kinds == kind)
    changed = type(rows)(rows.ids, rows.cutoffs, rows.x, rows.labels, rows.groups, without)
    before, after = (occlusion.scores(fitted.predict(frame)["churn"], 1) for frame in (rows, changed))
    assert np.allclose(shares[:, names.index(told[0])], before - after)
    assert explanation.methods_of(fitted) == ("occlusion",)
    assert occlusion.counted(rows, names, 0)[told[0]] == int((rows.events.kinds[0] == kind).sum())


def test_lime_takes_kinds_of_events_away(shop):
    fitted = created("gru", shop, epochs=2, encoder_width=8, sequence_events=6).fit(shop.train, shop.valid)
    one = shop.test.take(np.arange(1))
    found = lime.explain(
        fitted.predict,
        one.x,
        shop.train.x[:20],
        target=target_named(fitted.targets, "churn"),
        of_class=1,
        events=one.events,
        samples=80,
    )
    events = [place for place, name in enumerate(found.names) if occlusion.is_events(name)]
    columns = [place for place in range(len(found.names)) if place not in events]
    assert events
    assert np.abs(found.shares[events]).max() > np.abs(found.shares[columns]).max(), "it reads nothing else"


def test_events_without_some_close_up_and_keep_their_ages():
    made = Sequences.empty(1, 4)
    made.lengths[:] = 3
    made.kinds[0, :3] = [1, 10, 1]
    ages = np.array([30.0, 20.0, 5.0])
    made.numeric[0, :3, AGE] = np.log1p(ages)
    made.numeric[0, :3, GAP] = np.log1p([7.0, 10.0, 15.0])
    left = made.without(made.kinds == 10)
    assert left.lengths.tolist() == [2]
    assert left.kinds[0].tolist() == [1, 1, 0, 0]
    assert np.allclose(np.expm1(left.numeric[0, :2, AGE]), [30.0, 5.0], atol=1e-3)
    assert np.allclose(np.expm1(left.numeric[0, :2, GAP]), [7.0, 25.0], atol=1e-3)
    assert not left.numeric[0, 2:].any()
    assert np.array_equal(made.without(np.zeros((1, 4), dtype=bool)).kinds, made.kinds)
