"""What customers write agrees with how satisfied they are."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

GOOD = frozenset(
    re.findall(
        r"\w+",
        "love lovely happy great excellent pleased perfect perfectly wonderful superb recommended delight nice "
        "good favourite friendly helpful better happier success beautifully pleasure politely",
    )
)
BAD = frozenset(
    re.findall(
        r"\w+",
        "disappointed broke broken poor regret damaged terrible waste awful cheap late rude unhelpful missing "
        "wrong nightmare horrible expensive avoid refund never useless badly scam fraud fake thieves worst "
        "rubbish liars slow hard stopped apart",
    )
)


def polarity(text: str) -> int:
    found = re.findall("[a-z]+", text.lower())
    return sum(word in GOOD for word in found) - sum(word in BAD for word in found)


@pytest.fixture(scope="module")
def reviews(world):
    return world.events.filter(pl.col("kind") == "reviewed")


def test_every_review_has_a_rating_from_one_to_five_and_words(reviews):
    assert reviews["rating"].is_between(1, 5).all()
    assert set(reviews["rating"]) == {1, 2, 3, 4, 5}
    assert reviews["text"].str.len_chars().min() > 5


def test_good_and_bad_words_follow_the_rating(reviews):
    score = np.array([polarity(text) for text in reviews["text"]])
    assert np.corrcoef(score, reviews["rating"])[0, 1] > 0.75


def test_ratings_follow_the_satisfaction_of_the_writer(world, reviews):
    mean = reviews.group_by("customer_id").agg(pl.col("rating").mean())
    both = mean.join(world.truth, on="customer_id")
    assert np.corrcoef(both["rating"], both["satisfaction"])[0, 1] > 0.45


def test_reviews_are_varied_and_leave_no_placeholder(world, reviews):
    texts = world.events["text"].drop_nulls()
    assert reviews["text"].n_unique() > 0.5 * reviews.height
    assert not texts.str.contains(r"[{}]").any()


def test_unhappy_customers_open_more_tickets_and_alone_complain(world):
    asked = world.events.filter(pl.col("kind") == "ticket_opened").group_by("customer_id").len("tickets")
    frame = (
        world.truth.filter(pl.col("orders_in_window") > 0)
        .join(asked, on="customer_id", how="left")
        .fill_null(0)
    )
    share = pl.col("tickets").sum() / pl.col("orders_in_window").sum()
    unhappy = frame.filter(pl.col("satisfaction") < 0).select(share).item()
    happy = frame.filter(pl.col("satisfaction") > 0.5).select(share).item()
    assert unhappy > 1.5 * happy
