import numpy as np
import polars as pl
import pytest

from segmentation.ml import drift

RNG = np.random.default_rng(1)
NORMAL = pl.Series("x", RNG.normal(0, 1, 5000))


def test_the_same_column_has_not_moved():
    assert drift.index(drift.profile(NORMAL), NORMAL) == pytest.approx(0, abs=1e-4)


def test_another_draw_has_hardly_moved_and_a_shift_by_one_spread_has_moved_far():
    expected = drift.profile(NORMAL)
    assert drift.index(expected, pl.Series(RNG.normal(0, 1, 5000))) < 0.02
    assert drift.index(expected, pl.Series(RNG.normal(1, 1, 5000))) > drift.FAR


def test_the_index_is_the_published_formula():
    expected = {"edges": [0.0], "shares": [0.5, 0.5, 0.0]}
    found = pl.Series([-1.0] * 80 + [1.0] * 20)
    wanted = 0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5)
    assert drift.index(expected, found) == pytest.approx(wanted, rel=1e-6)


def test_values_that_went_missing_have_moved():
    holed = NORMAL.to_list()[:2500] + [None] * 2500
    assert drift.index(drift.profile(NORMAL), pl.Series(holed, dtype=pl.Float64)) > drift.FAR


def test_texts_are_compared_by_value_and_new_ones_count_as_others():
    expected = drift.profile(pl.Series("c", ["GB"] * 90 + ["FR"] * 10))
    assert drift.index(expected, pl.Series(["GB"] * 9 + ["FR"])) == pytest.approx(0, abs=1e-3)
    assert drift.index(expected, pl.Series(["GB"] * 5 + ["DE"] * 5)) > drift.FAR


@pytest.mark.parametrize("column", [[], [None, None], [float("nan"), float("inf")], [3.0, 3.0, 3.0]])
def test_columns_without_a_spread_are_no_error(column):
    series = pl.Series("x", column, dtype=pl.Float64)
    assert np.isfinite(drift.index(drift.profile(series), series))
