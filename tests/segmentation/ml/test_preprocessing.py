import numpy as np
import polars as pl
import pytest

from segmentation.ml.preprocessing import CLIP, UNKNOWN, Preprocessor
from segmentation.ml.schema import LearningError, columns_of


def table(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "money": rng.lognormal(3, 2, rows),
            "gap": np.where(rng.random(rows) < 0.3, np.nan, rng.exponential(10, rows)),
            "same": np.full(rows, 7.0),
            "nothing": np.full(rows, np.nan),
            "country": rng.choice(["GB", "DE", "rare"], rows, p=[0.8, 0.195, 0.005]),
        }
    )


def fit(x: pl.DataFrame) -> Preprocessor:
    return Preprocessor.fit(x, columns_of(x))


def test_numbers_become_normal_quantiles_within_the_clip():
    money = fit(table(4000)).transform(table(4000)).numeric[:, 0]
    assert abs(money.mean()) < 0.02
    assert abs(money.std() - 1) < 0.02
    assert np.abs(money).max() <= CLIP


def test_the_median_is_zero_and_order_is_kept():
    x = table()
    encoded = fit(x).transform(x).numeric[:, 0]
    order = np.argsort(x["money"].to_numpy())
    assert (np.diff(encoded[order]) >= 0).all()
    middle = pl.DataFrame({**{c: x[c][:1] for c in x.columns}, "money": [x["money"].median()]})
    assert fit(x).transform(middle).numeric[0, 0] == pytest.approx(0.0, abs=0.01)


def test_missing_is_the_median_with_an_indicator_beside_it():
    x = table()
    state = fit(x)
    encoded = state.transform(x)
    indicator = state.numeric_sources.index("gap", 2)
    missing = np.isnan(x["gap"].to_numpy())
    assert (encoded.numeric[missing, 1] == 0).all()
    assert encoded.numeric[:, indicator].tolist() == missing.astype(float).tolist()


def test_constant_and_empty_columns_say_nothing_whatever_comes_later():
    state = fit(table())
    later = table().with_columns(same=pl.lit(1e9), nothing=pl.lit(5.0))
    encoded = state.transform(later).numeric
    assert (encoded[:, 2] == 0).all()
    assert (encoded[:, 3] == 0).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, None])
def test_infinities_count_as_missing(value):
    x = table()
    state = fit(x)
    odd = x.with_columns(gap=pl.lit(value, dtype=pl.Float64))
    encoded = state.transform(odd).numeric
    assert np.isfinite(encoded).all()
    assert (encoded[:, state.numeric_sources.index("gap", 2)] == 1).all()


def test_infinities_in_training_leave_the_scale_alone():
    x = table()
    spoiled = pl.concat([x, x.head(5).with_columns(money=pl.lit(np.inf))])
    money = fit(spoiled).scales["money"]
    assert np.isfinite(money.knots).all()
    assert money.knots.max() == x["money"].max()


def test_rare_new_and_missing_categories_share_the_unknown_bucket():
    x = table()
    state = fit(x)
    assert "rare" not in state.vocabularies["country"]
    odd = x.head(3).with_columns(country=pl.Series(["rare", "Atlantis", None]))
    assert state.transform(odd).categorical[:, 0].tolist() == [UNKNOWN] * 3
    assert (state.transform(x.filter(pl.col("country") == "GB")).categorical == 1).all()


def test_a_fit_ignores_every_row_it_was_not_given():
    x = table()
    train, rest = x.head(200), x.tail(200).with_columns(money=pl.lit(1e12), country=pl.lit("Mars"))
    alone, tensors = fit(train).state()
    state = fit(train)
    state.transform(rest)
    after, after_tensors = state.state()
    assert alone == after
    assert all((tensors[name] == after_tensors[name]).all() for name in tensors)
    assert "Mars" not in str(after)


def test_the_state_round_trip_encodes_alike():
    x = table()
    state = fit(x)
    again = Preprocessor.from_state(*state.state())
    first, second = state.transform(x), again.transform(x)
    assert (first.numeric == second.numeric).all()
    assert (first.categorical == second.categorical).all()


def test_absent_columns_are_named():
    with pytest.raises(LearningError, match="money"):
        fit(table()).transform(table().drop("money"))


def test_text_where_a_number_belongs_is_named():
    with pytest.raises(LearningError, match="money"):
        fit(table()).transform(table().with_columns(money=pl.lit("dear")))
