"""Imputation, outliers, scales, selection, resampling: fitted on training rows, stored, and nothing else moves."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from segmentation.ml import artifacts, combine, gan, imbalance, selection
from segmentation.ml.config import CHOICES, Preprocessing, preset
from segmentation.ml.evaluation import evaluate
from segmentation.ml.preprocessing import Preprocessor
from segmentation.ml.schema import CHURN, STANDARD_TARGETS, Column, Frame, columns_of
from tests.segmentation.ml.conftest import created
from tests.segmentation.ml.test_estimators import same


def table(rows=800, seed=4):
    rng = np.random.default_rng(seed)
    a = rng.normal(10, 2, rows)
    b = 3 * a + rng.normal(0, 0.5, rows)
    unknown = rng.random(rows) < 0.3
    far = np.where(rng.random(rows) < 0.01, 1e6, rng.normal(0, 1, rows))
    x = pl.DataFrame(
        {"a": a, "b": np.where(unknown, np.nan, b), "far": far, "word": rng.choice(["x", "y", "z"], rows)}
    )
    return x, unknown, b


def fitted(x, **settings):
    return Preprocessor.fit(x, columns_of(x), Preprocessing(**settings))


def test_a_regression_guesses_unknown_numbers_from_the_others():
    x, unknown, truth = table()
    for how, most in (("median", 1.2), ("regression", 0.25), ("multiple", 0.25)):
        made = fitted(x, imputation=how, scaling="standard")
        column = made.transform(x).numeric[unknown, 1]
        scale = made.scales["b"]
        wanted = np.interp(truth[unknown], scale.knots, scale.quantiles)
        assert np.abs(column - wanted).mean() < most
        if how == "median":
            assert np.abs(column - wanted).mean() > 0.6


def test_nought_stands_for_what_is_unknown_if_asked():
    x, unknown, _truth = table()
    made = fitted(x, imputation="constant", scaling="min_max")
    assert set(made.transform(x).numeric[unknown, 1].tolist()) == {made.scales["b"].fill}
    assert made.scales["b"].fill == pytest.approx(0.0)


def test_numbers_far_out_are_cut():
    x, _unknown, _truth = table()
    plain = fitted(x, scaling="min_max").transform(x).numeric[:, 2]
    for how in ("iqr", "quantile"):
        cut = fitted(x, scaling="min_max", outliers=how).transform(x).numeric[:, 2]
        assert np.median(cut) > 0.3 > np.median(plain)
        assert cut.max() == 1.0


def test_scales_have_their_shapes():
    x, _unknown, _truth = table()
    standard = fitted(x, scaling="standard").transform(x).numeric[:, 0]
    assert (standard.mean(), standard.std()) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))
    within = fitted(x, scaling="min_max").transform(x).numeric[:, 0]
    assert (within.min(), within.max()) == (0, 1)


def test_one_hot_columns_stand_among_the_numbers():
    x, _unknown, _truth = table()
    made = fitted(x, categories="one_hot")
    encoded = made.transform(x)
    assert encoded.categorical.shape == (len(x), 0)
    assert made.category_sizes == ()
    assert made.numeric_sources[-4:] == ("word",) * 4
    assert (encoded.numeric[:, -4:].sum(axis=1) == 1).all()


def test_components_hold_most_of_the_variance_and_nothing_of_later_rows():
    x, _unknown, _truth = table()
    made = fitted(x, pca=2)
    encoded = made.transform(x)
    assert encoded.numeric.shape == (len(x), 2)
    assert encoded.numeric[:, 0].var() >= encoded.numeric[:, 1].var()
    assert abs(np.corrcoef(encoded.numeric.T)[0, 1]) < 1e-3


@pytest.mark.parametrize("scaling", CHOICES["scaling"])
@pytest.mark.parametrize("imputation", CHOICES["imputation"])
def test_what_was_fitted_is_read_back_and_answers_for_one_row_as_for_all(scaling, imputation):
    x, _unknown, _truth = table(300)
    made = fitted(x, scaling=scaling, imputation=imputation, outliers="iqr", pca=3, categories="one_hot")
    again = Preprocessor.from_state(*made.state())
    whole = made.transform(x).numeric
    assert np.array_equal(again.transform(x).numeric, whole)
    assert np.array_equal(again.transform(x[70:71]).numeric, whole[70:71])


def test_later_rows_do_not_move_what_was_fitted():
    x, _unknown, _truth = table(300)
    made = fitted(x, imputation="regression")
    before = made.transform(x).numeric
    made.transform(x.with_columns(pl.col("a") * 1000))
    assert np.array_equal(made.transform(x).numeric, before)


# --- columns and rows


def noisy(shop, columns=3):
    rng = np.random.default_rng(8)
    more = {f"chance_{i}": rng.normal(size=len(shop.train)) for i in range(columns)}
    x = shop.train.x.with_columns(
        pl.lit(1.0).alias("same"), (pl.col("recency_days") * 2).alias("twice"), **{n: pl.Series(v) for n, v in more.items()}
    )  # fmt: skip
    return replace(shop.train, x=x)


def chosen(frame, how, **more):
    config = preset("default", selection=how, **more)
    return {c.name for c in selection.choose(frame, columns_of(frame.x), [CHURN], config)}


def test_columns_that_say_nothing_or_the_same_are_left_out(shop):
    frame = noisy(shop)
    names = {column.name for column in columns_of(frame.x)}
    assert names - chosen(frame, "variance") == {"same"}
    left_out = names - chosen(frame, "correlation")
    assert "twice" in left_out
    assert "recency_days" not in left_out


@pytest.mark.parametrize("how", ["permutation", "rfe"])
def test_the_useful_columns_stay(how, shop):
    frame = noisy(shop)
    kept = chosen(frame, how, keep_share=0.5)
    assert len(kept) == round(0.5 * frame.x.width)
    assert kept & {"btyd_expected_orders_90d", "btyd_alive", "btyd_value_90d"}
    assert len({name for name in kept if name.startswith("chance") or name == "same"}) <= 2


def test_odd_rows_are_left_out_of_training_alone(shop):
    odd = shop.train.x.with_columns(
        pl.when(pl.int_range(pl.len()) < 5).then(1e7).otherwise(pl.col("basket")).alias("basket")
    )
    kept = selection.without_outliers(
        replace(shop.train, x=odd), preset("default", outliers="isolation_forest")
    )
    assert len(shop.train) * 0.97 < len(kept) < len(shop.train)


@pytest.mark.parametrize("how", ["over", "under", "smote", "noise", "gan"])
def test_resampling_makes_classes_equally_many(how, shop):
    rng = np.random.default_rng(2)
    stays = shop.train.labels["churn"] == 0
    rare = shop.train.take(np.flatnonzero(~stays | (rng.random(len(stays)) < 0.25)))
    made = imbalance.resample(rare, STANDARD_TARGETS, how, seed=3)
    counts = np.bincount(made.labels["churn"].astype(int))
    assert counts[0] == counts[1]
    assert made.x.schema == rare.x.schema
    assert len(made.events) == len(made)
    if how not in ("over", "under"):
        fresh = made.x[len(rare) :].select("recency_days", "basket")
        assert (
            fresh.join(rare.x.select("recency_days", "basket"), on=["recency_days", "basket"]).height
            < 0.2 * fresh.height
        )
        # Made-up customers of a class look like it.
        of_class = made.labels["churn"][len(rare) :][0]
        real = rare.x.filter(pl.Series(rare.labels["churn"] == of_class))["recency_days"].median()
        assert fresh["recency_days"].median() == pytest.approx(real, rel=0.5, abs=20)


def test_one_generator_makes_rows_of_the_class_it_is_told():
    rng = np.random.default_rng(5)
    counts, centres = (600, 200, 90), (-5.0, 0.0, 8.0)
    classes = np.repeat([0, 1, 2], counts)
    first = np.concatenate([rng.normal(c, 1, n) for c, n in zip(centres, counts, strict=True)])
    second = np.where(
        rng.random(len(classes)) < 0.3 * (classes == 1), np.nan, 2 * first + rng.normal(0, 0.3, len(first))
    )
    made = gan.ConditionalGAN.fit(np.stack([first, second], axis=1), classes, seed=1)
    for of_class, centre in enumerate(centres):
        drawn = made.sample(of_class, 400, seed=2)
        assert np.median(drawn[:, 0]) == pytest.approx(centre, abs=1.2)
        assert np.median(drawn[:, 1]) == pytest.approx(2 * centre, abs=2.4)
    assert (made.sample(2, 50, seed=3) == made.sample(2, 50, seed=3)).all()


def test_classes_share_one_generator_that_saw_training_rows_alone(monkeypatch, shop):
    seen = []
    original = gan.ConditionalGAN.fit.__func__

    def fit(cls, values, classes, *, seed):
        seen.append((len(values), np.bincount(classes).tolist()))
        return original(cls, values, classes, seed=seed)

    monkeypatch.setattr(gan.ConditionalGAN, "fit", classmethod(fit))
    tier = [target for target in STANDARD_TARGETS if target.name == "value_tier"]
    made = imbalance.resample(shop.train, tier, "gan", seed=3)
    counts = np.bincount(shop.train.labels["value_tier"].astype(int)).tolist()
    assert seen == [(len(shop.train), counts)]
    assert len(set(np.bincount(made.labels["value_tier"].astype(int)).tolist())) == 1


def test_a_made_up_row_leaves_unknown_what_is_unknown_in_the_row_it_stands_beside():
    rng = np.random.default_rng(6)
    known = np.where(np.arange(160) % 2 == 0, rng.normal(size=160), np.nan)
    frame = Frame(
        np.arange(160),
        np.full(160, np.datetime64("2024-01-01")),
        pl.DataFrame({"a": known, "b": rng.normal(size=160)}, nan_to_null=True),
        {"churn": (np.arange(160) < 50).astype(float)},
    )
    made = imbalance.resample(frame, [CHURN], "gan", seed=1).x[160:]
    assert made["a"].null_count() == pytest.approx(len(made) / 2, abs=15)
    assert made["b"].null_count() == 0


def test_a_class_of_a_few_rows_is_copied_and_not_made_up():
    x = pl.DataFrame({"a": [*np.linspace(0, 1, 60), 7.0, 8.0, 9.0]})
    labels = {"churn": np.array([0.0] * 60 + [1.0] * 3)}
    frame = Frame(np.arange(63), np.full(63, np.datetime64("2024-01-01")), x, labels)
    made = imbalance.resample(frame, [CHURN], "gan", seed=1)
    assert set(made.x["a"][63:].to_list()) <= {7.0, 8.0, 9.0}


def test_smote_points_lie_between_two_of_the_class():
    x = pl.DataFrame({"a": [0.0, 1.0, 10.0, 11.0, *([5.0] * 12)], "b": [0.0, 1.0, 10.0, 11.0, *([5.0] * 12)]})
    labels = {"churn": np.array([1.0] * 4 + [0.0] * 12)}
    frame = Frame(np.arange(16), np.full(16, np.datetime64("2024-01-01")), x, labels)
    made = imbalance.resample(frame, [CHURN], "smote", seed=1).x[16:]
    assert len(made) == 8
    assert np.allclose(made["a"], made["b"])
    assert made["a"].min() >= 0
    assert made["a"].max() <= 11


def test_weights_make_classes_equally_heavy():
    labels = np.array([0.0, 0, 0, 1, np.nan])
    weights = imbalance.row_weights(CHURN, labels, "class_weights")
    assert weights[:3].sum() == pytest.approx(weights[3])
    assert imbalance.row_weights(CHURN, labels, "none").tolist() == [1.0] * 5


def test_what_spoils_chances_is_marked():
    assert preset("default", imbalance="smote").spoils_calibration
    assert preset("default", loss="focal").spoils_calibration
    assert not preset("default", optimiser="sgd").spoils_calibration


# --- several learners as one


@pytest.mark.parametrize("how", ["voting", "stacking"])
def test_votes_and_weights_answer_well_and_are_read_back(how, shop, estimators, tmp_path):
    made = combine.build(how, ["btyd", "lightgbm", "fast"], estimators, shop.valid)
    found = evaluate(made.predict(shop.test), shop.test, STANDARD_TARGETS, rounds=2).targets
    assert found["churn"].primary.value > 0.7
    assert np.allclose(made.predict(shop.test)["value_tier"].probabilities.sum(axis=1), 1.0)
    artifacts.save(made, tmp_path / "made")
    same(made.predict(shop.test), artifacts.load(tmp_path / "made").predict(shop.test))


def test_weights_leave_out_who_knows_nothing(shop, estimators):
    class Blind:
        name, targets, columns = "blind", estimators["btyd"].targets, ()

        def predict(self, frame):
            known = estimators["btyd"].predict(frame)
            return {n: a.map(lambda v: np.roll(v, 7, axis=0)) for n, a in known.items()}

    made = combine.Stacking([estimators["fast"], Blind()]).fit_weights(shop.valid)
    for target in ("churn", "value_tier", "future_value"):
        assert made.weights[target][0] > 0.75
        assert sum(made.weights[target]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["logistic", "random_forest", "tabm"])
def test_a_learner_with_other_columns_is_read_back_as_it_was(name, shop, tmp_path):
    settings = {"imputation": "multiple", "outliers": "iqr", "scaling": "standard", "categories": "one_hot"}
    estimator = created(name, shop, **settings, pca=6, epochs=2).fit(shop.train, shop.valid)
    artifacts.save(estimator, tmp_path / "made")
    same(estimator.predict(shop.test), artifacts.load(tmp_path / "made").predict(shop.test))


def test_a_column_of_nothing_is_no_reason_to_stop():
    x = pl.DataFrame(
        {"empty": [None] * 50, "same": [1.0] * 50}, schema={"empty": pl.Float64, "same": pl.Float64}
    )
    for scaling in CHOICES["scaling"]:
        made = Preprocessor.fit(
            x, [Column("empty", "numeric"), Column("same", "numeric")], Preprocessing(scaling=scaling)
        )
        assert np.isfinite(made.transform(x).numeric).all()
