import numpy as np
import pytest

from segmentation.ml.interpolation import FEW, interpolate

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("knots", [1, 2, 3, 4, 5, 8, 9, 64, 200, 511, 512, 513])
def test_it_is_that_of_numpy_to_the_last_bit(knots):
    at = np.sort(RNG.lognormal(sigma=2.0, size=knots) - 1)
    heights = RNG.normal(size=knots)
    values = np.concatenate([RNG.lognormal(sigma=2.0, size=2 * FEW) - 1, at, np.nextafter(at, -9), [-9, 1e9]])
    assert np.array_equal(interpolate(values, at, heights), np.interp(values, at, heights))


def test_what_is_no_number_stays_none_and_infinity_is_the_end():
    values = np.concatenate([[np.nan, np.inf, -np.inf], RNG.normal(size=FEW)])
    found = interpolate(values, np.array([-1.0, 0.0, 2.0]), np.array([3.0, 4.0, 9.0]))
    assert np.isnan(found[0])
    assert found[1:3].tolist() == [9.0, 3.0]


def test_a_value_alone_is_what_it_is_among_many():
    at, heights = np.sort(RNG.normal(size=100)), RNG.normal(size=100)
    values = RNG.normal(size=FEW)
    alone = [interpolate(values[i : i + 1], at, heights)[0] for i in range(FEW)]
    assert interpolate(values, at, heights).tolist() == alone
