import numpy as np
import polars as pl
import pytest
from scipy.integrate import quad
from scipy.special import betaln, gammaln

from segmentation.ml import btyd
from segmentation.ml.schema import NotEnoughData

PUBLISHED = btyd.BGNBDParams(r=0.243, alpha=4.414, a=0.793, b=2.426)


@pytest.fixture(scope="module")
def cdnow(public_data) -> dict[str, np.ndarray]:
    table = pl.read_csv(public_data / "cdnow_calibration" / "cdnow_calibration.csv")
    names = {"frequency": "frequency", "recency": "recency_weeks", "age": "T_weeks"}
    return {key: table[name].to_numpy() for key, name in names.items()}


@pytest.mark.data
def test_the_fit_on_cdnow_reproduces_the_published_parameters(cdnow):
    fitted = btyd.fit_bgnbd(**cdnow)
    assert (round(fitted.r, 3), round(fitted.alpha, 3)) == (0.243, 4.414)
    assert (round(fitted.a, 3), round(fitted.b, 3)) == (0.793, 2.426)
    assert fitted.log_likelihood == pytest.approx(-9582.4, abs=0.05)


def test_the_published_example_customer_is_expected_to_order_1_226_times():
    # Fader, Hardie, Lee (2005), section 4: x = 2, t_x = 30.43, T = 38.86, 39 weeks ahead.
    orders = btyd.expected_orders(PUBLISHED, [2], [30.43], [38.86], 39)
    assert orders[0] == pytest.approx(1.226, abs=5e-4)


def test_the_log_likelihood_is_that_of_the_paper_computed_by_hand():
    rng = np.random.default_rng(7)
    x, t, age = _simulate(rng, rng.gamma(0.8, 1 / 6.0, 300), rng.beta(1.2, 3.0, 300))
    fitted = btyd.fit_bgnbd(x, t, age)
    r, alpha, a, b = fitted.r, fitted.alpha, fitted.a, fitted.b
    total = 0.0
    for xi, ti, ai in zip(x, t, age, strict=True):
        head = gammaln(r + xi) - gammaln(r) + r * np.log(alpha) + betaln(a, b + xi) - betaln(a, b)
        tail = (alpha + ai) ** -(r + xi)
        if xi > 0:
            tail += a / (b + xi - 1) * (alpha + ti) ** -(r + xi)
        total += head + np.log(tail)
    assert fitted.log_likelihood == pytest.approx(total, rel=1e-9)


def test_weights_count_as_repeated_customers():
    rng = np.random.default_rng(3)
    x = rng.poisson(1.0, 200).astype(float)
    age = rng.uniform(10, 40, 200)
    t = np.where(x > 0, age * rng.uniform(0.2, 1.0, 200), 0.0)
    weights = rng.integers(1, 4, 200)
    repeated = btyd.fit_bgnbd(*(np.repeat(v, weights) for v in (x, t, age)))
    weighted = btyd.fit_bgnbd(x, t, age, weights)
    assert weighted.to_json() == pytest.approx(repeated.to_json(), rel=1e-5)


def test_the_fit_does_not_depend_on_the_unit_of_time():
    rng = np.random.default_rng(5)
    rate, stop = rng.gamma(0.8, 1 / 6.0, 3000), rng.beta(1.2, 3.0, 3000)
    x, t, age = _simulate(rng, rate, stop)
    weeks = btyd.fit_bgnbd(x, t, age)
    days = btyd.fit_bgnbd(x, t * 7, age * 7)
    assert days.alpha == pytest.approx(weeks.alpha * 7, rel=1e-4)
    assert (days.r, days.a, days.b) == pytest.approx((weeks.r, weeks.a, weeks.b), rel=1e-4)


def test_a_simulated_shop_is_recovered_and_its_future_orders_are_foreseen():
    rng = np.random.default_rng(11)
    rate, stop = rng.gamma(0.8, 1 / 6.0, 20_000), rng.beta(1.2, 3.0, 20_000)
    x, t, age, future = _simulate(rng, rate, stop, horizon=13.0)
    fitted = btyd.fit_bgnbd(x, t, age)
    assert fitted.r == pytest.approx(0.8, rel=0.1)
    assert fitted.alpha == pytest.approx(6.0, rel=0.1)
    foreseen = btyd.expected_orders(fitted, x, t, age, 13.0)
    assert foreseen.sum() == pytest.approx(future.sum(), rel=0.05)


def test_gamma_gamma_recovers_the_parameters_it_was_simulated_from():
    rng = np.random.default_rng(0)
    nu = rng.gamma(3.7, 1 / 15.4, 20_000)
    orders = rng.integers(1, 12, 20_000)
    mean = rng.gamma(6.2 * orders, 1 / nu) / orders
    fitted = btyd.fit_gamma_gamma(orders, mean)
    # p and gamma trade against each other along a flat ridge of the likelihood; q and the mean do not.
    assert fitted.q == pytest.approx(3.7, rel=0.05)
    assert fitted.mean_spend == pytest.approx(6.2 * 15.4 / 2.7, rel=0.02)
    assert (fitted.p, fitted.gamma) == pytest.approx((6.2, 15.4), rel=0.15)
    assert fitted.log_likelihood >= _gamma_gamma_log_likelihood(6.2, 3.7, 15.4, orders, mean)
    at_fit = _gamma_gamma_log_likelihood(fitted.p, fitted.q, fitted.gamma, orders, mean)
    assert fitted.log_likelihood == pytest.approx(at_fit, rel=1e-9)


def test_expected_spend_without_orders_is_the_shops_mean_and_approaches_ones_own_with_many():
    params = btyd.GammaGammaParams(p=6.25, q=3.74, gamma=15.44)
    few, many = btyd.expected_spend(params, [0, 10_000], [np.nan, 80.0])
    assert few == pytest.approx(params.mean_spend)
    assert many == pytest.approx(80.0, rel=1e-3)


def test_a_heavy_buyer_gives_a_finite_answer():
    orders = btyd.expected_orders(PUBLISHED, [5000.0], [38.8], [38.86], 13.0)
    alive = btyd.probability_alive(PUBLISHED, [5000.0, 5000.0], [38.85, 1.0], [38.86, 38.86])
    assert np.isfinite(orders).all()
    assert alive[0] > 0.5
    assert alive[1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("a", [1.0, 1.0 + 1e-9])
def test_expected_orders_are_continuous_where_the_closed_form_divides_by_zero(a):
    at = btyd.BGNBDParams(r=0.5, alpha=5.0, a=a, b=2.0)
    beside = btyd.BGNBDParams(r=0.5, alpha=5.0, a=1.001, b=2.0)
    here = btyd.expected_orders(at, [3.0], [10.0], [12.0], 13.0)
    near = btyd.expected_orders(beside, [3.0], [10.0], [12.0], 13.0)
    assert here == pytest.approx(near, rel=2e-3)


def test_expected_orders_of_a_newcomer_equal_the_integral_over_the_prior():
    # E[orders in h | rate, stop, alive] = (1 - exp(-rate * stop * h)) / stop; a newcomer is alive.
    r, alpha, a, b, age, horizon = 0.9, 4.0, 2.0, 3.0, 6.0, 8.0
    params = btyd.BGNBDParams(r=r, alpha=alpha, a=a, b=b)

    def over_stop(p: float) -> float:
        # The rate's posterior is Gamma(r, alpha + age); its Laplace transform is closed.
        left = ((alpha + age) / (alpha + age + p * horizon)) ** r
        density = p ** (a - 1) * (1 - p) ** (b - 1) / np.exp(betaln(a, b))
        return (1 - left) / p * density

    expected, _ = quad(over_stop, 0, 1)
    assert btyd.expected_orders(params, [0], [0], [age], horizon)[0] == pytest.approx(expected, rel=1e-8)


def test_too_few_customers_are_refused_with_the_numbers_missing():
    with pytest.raises(NotEnoughData) as caught:
        btyd.fit_bgnbd([0, 1, 2], [0, 1, 2], [5, 5, 5])
    assert caught.value.missing["customers with orders"] == (3, btyd.MIN_CUSTOMERS)
    with pytest.raises(NotEnoughData):
        btyd.fit_gamma_gamma([1, 2], [10.0, 20.0])


def test_parameters_survive_json():
    assert btyd.BGNBDParams.from_json(PUBLISHED.to_json()) == PUBLISHED


def _gamma_gamma_log_likelihood(p, q, gamma, x, z):
    spread = q * np.log(gamma / (gamma + x * z)) + p * x * np.log(x * z / (gamma + x * z))
    return float((spread - np.log(z) - betaln(p * x, q)).sum())


def _simulate(rng, rate, stop, horizon=0.0):
    """Orders of customers born at time 0, seen for 20 to 40 weeks and then for `horizon`."""
    n = len(rate)
    age = rng.uniform(20, 40, n)
    x, last, future = np.zeros(n), np.zeros(n), np.zeros(n)
    # The first order never ends a BG/NBD customer.
    clock, alive = np.zeros(n), np.ones(n, dtype=bool)
    while alive.any():
        clock = clock + rng.exponential(1 / rate)
        seen, later = alive & (clock <= age), alive & (clock > age) & (clock <= age + horizon)
        x += seen
        last = np.where(seen, clock, last)
        future += later
        alive = (seen | later) & (rng.random(n) > stop)
    return (x, last, age, future) if horizon else (x, last, age)


def test_one_drop_out_rate_for_everybody_gives_finite_expectations():
    """A small shop's fit may say that all customers leave at one rate: huge a and b with that ratio."""
    history = {
        "frequency": [0, 1, 9, 40],
        "recency": [0, 6, 50, 51],
        "age": [20, 6.3, 52, 52],
        "horizon": 13.0,
    }
    huge = btyd.BGNBDParams(r=0.41, alpha=1.7, a=4271.5, b=49504.9)
    spread = btyd.BGNBDParams(r=0.41, alpha=1.7, a=40.0, b=40.0 * 49504.9 / 4271.5)
    found = btyd.expected_orders(huge, **history)
    assert (found > 0).all()
    assert np.isfinite(found).all()
    assert found == pytest.approx(btyd.expected_orders(spread, **history), rel=0.02)


@pytest.mark.parametrize("customers", [500, 5000, 20_000])
@pytest.mark.parametrize("most", [2, 9])
def test_a_shop_with_one_price_expects_that_price(customers, most):
    orders = np.random.default_rng(0).integers(1, most + 1, customers)
    params = btyd.fit_gamma_gamma(orders, np.full(customers, 30.0))
    expected = btyd.expected_spend(params, orders, np.full(customers, 30.0))
    assert expected == pytest.approx(30.0, rel=1e-3)
