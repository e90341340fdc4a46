"""Responses to offers: they differ, agree with what then happens, follow the seed, and never leave the truth's file."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from segmentation.simulator import SimulationConfig, campaign, simulate
from segmentation.simulator.campaign import EXTRA_ORDER, NOTHING
from segmentation.simulator.offers import OFFERS, WINDOW_DAYS, Kind

END = date(2025, 7, 1)


def config(**settings) -> SimulationConfig:
    return SimulationConfig(**({"customers": 4_000, "months": 12, "seed": 5, "end": END} | settings))


@pytest.fixture(scope="module")
def played():
    return campaign.play(config())


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop with a campaign, and the same without, read back from their files."""
    out = {}
    for name in ("with", "without"):
        folder = tmp_path_factory.mktemp(name)
        simulate(config(customers=2_500, campaign=name == "with"), folder)
        out[name] = {path.stem: path for path in folder.iterdir()}
    return out


def test_every_kind_of_customer_is_there_for_every_offer(played):
    shares = played.truth.group_by("offer", "kind").len()
    assert shares.height == len(OFFERS) * len(Kind)
    assert shares["len"].min() > 20
    spread = (played.with_offers("buys_with") - played.without("buys_without")[:, None]).std(axis=0)
    assert (spread > 0.03).all()


def test_what_happens_agrees_with_the_chances_without_and_with_each_offer(played):
    n = played.known.height
    for chance, happened in (("buys_without", "bought_without"), ("buys_with", "bought_with")):
        p, y = played.with_offers(chance), played.with_offers(happened).astype(float)
        surprise = (y - p).sum(axis=0) / np.sqrt((p * (1 - p)).sum(axis=0))
        assert (np.abs(surprise) < 4).all(), chance
    given = played.log.filter(pl.col("offer").is_not_null())
    assert given.height == pytest.approx(0.8 * n, rel=0.05)


def test_expected_spend_comes_true_in_total(played):
    held = played.log["held_out"].to_numpy()
    expected = played.without("spend_without")[held].sum()
    assert played.log["spend"].to_numpy()[held].sum() == pytest.approx(expected, rel=0.25)


def test_the_log_is_drawn_by_the_chances_it_says(played):
    assert np.allclose(played.chances.sum(axis=1), 1)
    assert played.chances.min() >= 0.1 - 1e-12
    given = ~played.log["held_out"].to_numpy()
    names = list(OFFERS)
    place = np.array([names.index(name) for name in played.log["offer"].drop_nulls().to_list()])
    said = played.log["propensity"].drop_nulls().to_numpy()
    assert np.allclose(said, played.chances[given][np.arange(len(place)), place])
    counts = np.bincount(place, minlength=len(names))
    p = played.chances[given]
    assert (np.abs(counts - p.sum(axis=0)) < 4 * np.sqrt((p * (1 - p)).sum(axis=0))).all()


def test_what_can_be_seen_tells_part_of_the_response(played):
    """Newsletter readers like early access, and have enough of discounts."""
    weekly = played.known["newsletter"].to_numpy() == 2
    change = played.with_offers("buys_with") - played.without("buys_without")[:, None]
    mean = {name: change[weekly, i].mean() - change[~weekly, i].mean() for i, name in enumerate(OFFERS)}
    assert mean["early_access"] > 0.02
    assert mean["ten_off"] < -0.02


def test_the_same_seed_gives_the_same_campaign_whatever_the_size(played):
    fewer = campaign.play(config(customers=2_300))
    n = fewer.known.height
    assert fewer.log.equals(played.log.head(n))
    assert fewer.known.equals(played.known.head(n))
    assert not campaign.play(config(customers=2_300, seed=6)).log.equals(fewer.log)


def test_the_files_hold_what_was_played_and_a_campaign_changes_no_other(shop):
    assert shop["with"].keys() - shop["without"].keys() == {"campaign", "campaign_events"}
    for name in shop["without"].keys() - {"manifest"}:
        assert shop["with"][name].read_bytes() == shop["without"][name].read_bytes(), name
    again = campaign.play(config(customers=2_500))
    assert pl.read_parquet(shop["with"]["campaign"]).equals(again.log)
    assert pl.read_parquet(shop["with"]["responses"]).equals(again.truth)


def test_nothing_that_the_product_reads_holds_the_truth(shop):
    truth = set(pl.read_parquet_schema(shop["with"]["responses"])) - {"customer_id", "offer", "kind"}
    for name in ("events", "customers", "campaign_events"):
        assert not truth & set(pl.read_parquet_schema(shop["with"][name]))


def test_the_campaigns_events_are_the_orders_of_the_log(shop):
    log = pl.read_parquet(shop["with"]["campaign"])
    events = pl.read_parquet(shop["with"]["campaign_events"])
    placed = events.filter(pl.col("kind") == "order_placed")
    paid = placed.group_by("customer_id").agg(
        (pl.col("quantity") * pl.col("unit_price") - pl.col("discount")).sum().alias("paid")
    )
    both = log.join(paid, on="customer_id", how="left").with_columns(pl.col("paid").fill_null(0))
    assert set(paid["customer_id"]) == set(log.filter("bought")["customer_id"])
    assert np.allclose(both["paid"], both["spend"], atol=0.06)
    sent = events.filter(pl.col("kind") == "offer_sent")
    assert sorted(sent["customer_id"]) == sorted(log.filter(~pl.col("held_out"))["customer_id"])
    earlier = pl.read_parquet(shop["with"]["events"])
    assert not set(events["event_id"]) & set(earlier["event_id"])
    assert not set(placed["order_id"]) & set(earlier["order_id"].drop_nulls())
    days = (events["occurred_at"].dt.date() - END).dt.total_days()
    assert days.is_between(0, WINDOW_DAYS).all()


def test_held_out_customers_do_what_they_would_have_done_anyway(shop):
    log = pl.read_parquet(shop["with"]["campaign"]).filter("held_out")
    future = pl.read_parquet(shop["with"]["future"])
    inside = future.filter((pl.col("occurred_at").dt.date() - END).dt.total_days() < WINDOW_DAYS)
    assert set(log.filter("bought")["customer_id"]) == set(inside["customer_id"]) & set(log["customer_id"])
    assert EXTRA_ORDER > 2_000
    assert NOTHING not in range(len(OFFERS))
