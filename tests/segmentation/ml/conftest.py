"""A small shop whose truth is known, and estimators fitted on it once for all tests."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import pytest

from segmentation.ml import artifacts, btyd, families, schema, splits
from segmentation.ml.blend import Blend
from segmentation.ml.config import preset
from segmentation.ml.schema import STANDARD_TARGETS, Frame
from segmentation.ml.sequences import Sequences
from segmentation.ml.served import ServedModel

HORIZON_WEEKS = 90 / 7
CUTOFFS = (date(2024, 1, 1), date(2024, 4, 1), date(2024, 7, 1))
CUTS = (35.0, 80.0)
SMALL = {
    "epochs": 10,
    "patience": 3,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "boosting_rounds": 60,
    "hidden": (32, 32),
    "embedding_bins": 8,
}


@dataclass(frozen=True)
class Shop:
    train: Frame
    valid: Frame
    test: Frame

    @property
    def columns(self):
        return schema.columns_of(self.train.x)


def shop_at(cutoff: date, *, customers: int, seed: int) -> Frame:
    """Customers with an order rate, a chance to stop and a price level of their own, seen up to `cutoff`."""
    rng = np.random.default_rng(seed)
    rate, stop = rng.gamma(1.2, 1 / 8.0, customers), rng.beta(1.0, 4.0, customers)
    price = rng.lognormal(3.2, 0.6, customers)
    age = rng.uniform(10, 50, customers)
    clock, alive = np.zeros(customers), np.ones(customers, dtype=bool)
    orders, last, future = np.ones(customers), np.zeros(customers), np.zeros(customers)
    while alive.any():
        clock = clock + rng.exponential(1 / rate)
        seen = alive & (clock <= age)
        later = alive & (clock > age) & (clock <= age + HORIZON_WEEKS)
        orders, last, future = orders + seen, np.where(seen, clock, last), future + later
        alive = (seen | later) & (rng.random(customers) > stop)
    spend = price * rng.lognormal(0, 0.2, customers)
    value = future * price * rng.lognormal(0, 0.2, customers)
    return _frame(cutoff, rng, orders=orders, last=last, age=age, spend=spend, value=value)


def _frame(cutoff, rng, *, orders, last, age, spend, value) -> Frame:
    bg = btyd.BGNBDParams(r=1.2, alpha=8.0, a=1.0, b=4.0)
    gg = btyd.fit_gamma_gamma(orders, spend)
    expected = btyd.expected_orders(bg, orders - 1, last, age, HORIZON_WEEKS)
    per_order = btyd.expected_spend(gg, orders, spend)
    customers = len(orders)
    x = pl.DataFrame(
        {
            "recency_days": (age - last) * 7,
            "orders_lifetime": orders,
            "tenure_days": age * 7,
            "basket": spend,
            "gap_mean": np.where(orders > 1, last / np.maximum(orders - 1, 1) * 7, np.nan),
            "noise": rng.normal(size=customers),
            "btyd_expected_orders_90d": expected,
            "btyd_alive": btyd.probability_alive(bg, orders - 1, last, age),
            "btyd_expected_spend": per_order,
            "btyd_value_90d": expected * per_order,
            "country": rng.choice(["GB", "DE", "FR"], customers, p=[0.7, 0.2, 0.1]),
        }
    )
    labels = {
        "churn": (value <= 0).astype(np.float64),
        "value_tier": np.where(value <= 0, 0, 1 + np.digitize(value, CUTS)),
        "future_value": value,
    }
    ids = np.arange(customers, dtype=np.int64)
    return Frame(
        ids,
        np.full(customers, np.datetime64(cutoff)),
        x,
        labels,
        {"country": x["country"].to_numpy()},
        events=_events(rng, orders=orders, last=last, age=age, spend=spend),
    )


def _events(rng, *, orders, last, age, spend, newest=8) -> Sequences:
    """The orders of each customer one by one: the first at the start, the last where it was, the others between."""
    found = Sequences.empty(len(orders), newest)
    for row, (count, end, old, price) in enumerate(zip(orders.astype(int), last, age, spend, strict=True)):
        inner = rng.uniform(0, end, count - 2) if count > 2 else []
        times = np.sort([0.0, *inner, end] if count > 1 else [0.0])[-newest:] * 7
        amounts = price * rng.lognormal(0, 0.2, len(times))
        ages = old * 7 - times
        found.numeric[row, : len(times)] = np.column_stack(
            [
                np.log1p(np.diff(times, prepend=times[0])),
                np.log1p(ages),
                np.sin(times / 58.0),
                np.cos(times / 58.0),
                np.log1p(amounts),
                np.zeros(len(times)),
                np.zeros(len(times)),
            ]
        )
        found.kinds[row, : len(times)] = 1
        found.categories[row, : len(times)] = 1 << rng.integers(0, 5, len(times))
        found.lengths[row] = len(times)
    return found


@pytest.fixture(scope="session")
def shop() -> Shop:
    early = [shop_at(cutoff, customers=900, seed=i) for i, cutoff in enumerate(CUTOFFS[:2])]
    train, valid = splits.hold_out_customers(Frame.concat(early), 0.15)
    return Shop(train=train, valid=valid, test=shop_at(CUTOFFS[2], customers=1500, seed=9))


def fitted(name: str, shop: Shop, **settings):
    config = preset("fast" if name == "fast" else "default", **{**SMALL, "ensemble": 4, **settings})
    kind = "mlp" if name in ("fast", "default") else name
    estimator = artifacts.create(kind, targets=STANDARD_TARGETS, columns=shop.columns, config=config)
    return estimator.fit(shop.train, shop.valid)


# Small enough for a test, and shared by every family that has such a setting.
TINY = {**SMALL, "epochs": 8, "forest_trees": 30, "ensemble": 2, "sequence_events": 8, "encoder_width": 16}


def created(name: str, shop: Shop, **settings):
    """An unfitted estimator of an algorithm (families.py)."""
    given = {**TINY, **settings}
    config = families.config_of(name, preset("default", **given), given=given)
    return artifacts.create(name, targets=STANDARD_TARGETS, columns=shop.columns, config=config)


@pytest.fixture(scope="session")
def estimators(shop):
    """name -> fitted estimator; the network comes as both presets, then the blend and the served model."""
    found = {name: fitted(name, shop) for name in ("btyd", "logistic", "lightgbm", "fast", "default")}
    found["blend"] = Blend([found["btyd"], found["lightgbm"], found["fast"]])
    found["served"] = ServedModel(found["blend"]).fit_rules(shop.valid)
    return found
