"""The shop's truth: learnable, not trivial, and consistent with what then happens."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

# The ranges that make the shop a fair exercise.
ORACLE_AUC = (0.80, 0.88)
CHURN = (0.45, 0.66)
ONE_TIME = (0.24, 0.36)
TOP_FIFTH = (0.60, 0.76)
LINES_A_CUSTOMER = (25, 40)


def within(value, limits):
    return limits[0] <= value <= limits[1]


@pytest.fixture(scope="module")
def at_risk(world):
    return world.truth.filter("in_churn_population")


def test_the_best_forecast_from_orders_ranks_churn_well_but_not_perfectly(at_risk):
    auc = roc_auc_score(at_risk["churned_90d"], at_risk["oracle_churn_probability"])
    assert within(auc, ORACLE_AUC)


def test_knowing_who_has_stopped_beats_the_best_forecast_from_orders(at_risk):
    from_orders = roc_auc_score(at_risk["churned_90d"], at_risk["oracle_churn_probability"])
    assert roc_auc_score(at_risk["churned_90d"], at_risk["state_churn_probability"]) > from_orders + 0.03


@pytest.mark.parametrize("column", ["oracle_churn_probability", "state_churn_probability"])
def test_the_oracles_are_calibrated_over_all_and_in_every_third(at_risk, column):
    thirds = [at_risk, *at_risk.sort(column).iter_slices(at_risk.height // 3 + 1)]
    for part in thirds:
        p = part[column].to_numpy()
        surprise = (part["churned_90d"].to_numpy() - p).sum() / np.sqrt((p * (1 - p)).sum() + 1e-9)
        assert abs(surprise) < 4


def test_the_probability_of_being_alive_agrees_with_who_is(at_risk):
    p = at_risk["alive_probability"].to_numpy()
    surprise = (at_risk["alive_at_end"].to_numpy() - p).sum() / np.sqrt((p * (1 - p)).sum())
    assert abs(surprise) < 4


def test_expected_orders_and_spend_come_true_in_total(at_risk):
    assert at_risk["future_orders_90d"].sum() == pytest.approx(at_risk["expected_orders_90d"].sum(), rel=0.08)
    assert at_risk["future_spend_90d"].sum() == pytest.approx(at_risk["expected_spend_90d"].sum(), rel=0.2)


def test_churn_one_time_buyers_and_concentration_are_those_of_a_real_shop(world, at_risk):
    buyers = world.truth.filter(pl.col("orders_in_window") > 0)
    spend = buyers["spend_in_window"].sort(descending=True)
    assert within(at_risk["churned_90d"].mean(), CHURN)
    assert within((buyers["orders_in_window"] == 1).mean(), ONE_TIME)
    assert within(spend.head(len(spend) // 5).sum() / spend.sum(), TOP_FIFTH)
    assert within(world.events.height / world.config.customers, LINES_A_CUSTOMER)


def test_the_report_repeats_what_the_files_hold(world, at_risk, orders):
    report = world.report
    assert report.churn_share == pytest.approx(at_risk["churned_90d"].mean())
    assert report.event_lines == world.events.height == sum(report.lines_by_kind.values())
    assert report.order_count == orders.height
    assert report.future_orders == world.future.height


def test_the_truth_counts_the_orders_and_the_money_of_the_event_file(world, orders):
    seen = orders.group_by("customer_id").agg(pl.len().alias("n"), pl.col("amount").sum())
    both = world.truth.join(seen, on="customer_id", how="left").fill_null(0)
    assert (both["n"] == both["orders_in_window"]).all()
    assert np.allclose(both["amount"], both["spend_in_window"], atol=0.005)


def test_the_future_file_holds_the_outcomes_of_the_truth_file_and_no_order_twice(world, orders):
    seen = world.future.group_by("customer_id").agg(pl.len().alias("n"), pl.col("amount").sum())
    both = world.truth.join(seen, on="customer_id", how="left").fill_null(0)
    assert (both["n"] == both["future_orders_90d"]).all()
    assert np.allclose(both["amount"], both["future_spend_90d"], atol=0.005)
    assert world.future["occurred_at"].min() >= world.config.end_at
    assert not set(world.future["order_id"]) & set(orders["order_id"])


def test_nobody_orders_after_having_stopped(world, orders):
    stopped = world.truth.select("customer_id", "stopped_at").drop_nulls()
    everything = pl.concat(
        [orders.select("customer_id", "occurred_at"), world.future.select("customer_id", "occurred_at")]
    )
    late = everything.join(stopped, on="customer_id").filter(pl.col("occurred_at") > pl.col("stopped_at"))
    assert stopped.height > 500
    assert late.height == 0


def test_the_profile_moves_buying_and_stopping(world):
    both = world.truth.join(world.customers.select("customer_id", "channel"), on="customer_id")
    mean = both.group_by("channel").agg(pl.col("buying_rate", "dropout_probability").mean())
    by_channel = {row["channel"]: row for row in mean.iter_rows(named=True)}
    assert by_channel["referral"]["buying_rate"] > by_channel["marketplace"]["buying_rate"]
    assert by_channel["referral"]["dropout_probability"] < 0.7 * by_channel["social"]["dropout_probability"]
