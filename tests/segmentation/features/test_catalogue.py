from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from django.utils import translation

from segmentation.features import catalogue
from segmentation.features.catalogue import BY_NAME, CATALOGUE, CATALOGUE_VERSION, NUMERIC, version_of
from segmentation.features.compute import compute
from segmentation.features.frames import customers_frame, events_frame
from segmentation.kinds import EventKind
from tests.segmentation.features.build import AS_OF, CONTEXT

# Changes with the catalogue. If only the second one moved, a formula changed under an old name: raise the
# feature's `revision`, then pin both.
PINNED = ("ee4c560836f67ae3", "1e9dae69cd9b6305")


def test_there_are_more_than_forty_features_with_names_of_their_own():
    assert len(CATALOGUE) > 40
    assert len(BY_NAME) == len(CATALOGUE)


def test_features_that_the_purchase_model_and_rules_rely_on_are_there():
    needed = {
        "btyd_expected_orders_90d",
        "btyd_alive",
        "btyd_expected_spend",
        "btyd_value_90d",
        "recency_days",
    }
    assert needed | {"orders_lifetime", "country", "channel"} <= set(BY_NAME)


@pytest.mark.django_db
@pytest.mark.parametrize("feature", CATALOGUE, ids=lambda feature: feature.name)
def test_every_feature_says_its_value_in_a_sentence(feature):
    said = feature.say("17")
    assert "17" in said
    assert "%" not in said
    assert str(feature.label)
    assert feature.window_days is None or feature.window_days > 0


def test_an_unknown_value_is_said_to_be_unknown():
    assert BY_NAME["recency_days"].say(None).endswith("unknown")


def test_sentences_are_translated_when_they_are_read():
    with translation.override("en"):
        assert BY_NAME["orders_90d"].say(3) == "Orders in the last 90 days: 3"


def test_the_version_follows_names_order_and_revisions():
    from dataclasses import replace

    changed = [replace(CATALOGUE[0], revision=2), *CATALOGUE[1:]]
    assert version_of(CATALOGUE) == CATALOGUE_VERSION
    assert len({version_of(CATALOGUE), version_of(changed), version_of(CATALOGUE[::-1])}) == 3


def test_a_formula_does_not_change_without_a_new_revision():
    assert (CATALOGUE_VERSION, _fingerprint()) == PINNED


def test_stored_vectors_hold_the_numbers_only():
    assert {"country", "channel"}.isdisjoint(NUMERIC)
    assert len(NUMERIC) + len(catalogue.CATEGORICAL) == len(CATALOGUE)


def _fingerprint() -> str:
    """A hash of what the catalogue says of a fixed, varied shop, to six digits."""
    kinds, end = list(EventKind), datetime(2024, 6, 30, 22, tzinfo=UTC)
    rows = [
        {
            "customer_id": n % 13,
            "kind": 1 if n % 3 else int(kinds[n % len(kinds)]),
            "occurred_at": end - timedelta(hours=(n * n * 7) % 17_000),
            "amount_minor": 100 + (n * 37) % 9000,
            "discount_minor": (n % 4) * 50,
            "quantity": 1 + n % 7,
            "line_count": 1 + n % 3,
            "category_mask": 1 << (n % 20),
            "rating": 1.0 + n % 5,
            "sentiment": ((n * 13) % 41 - 20) / 20 if n % 6 else None,
            "topic": n % 7,
            "repeats": n % 3,
        }
        for n in range(600)
    ]
    found = compute(events_frame(rows), AS_OF, CONTEXT, customers=customers_frame(range(14)))
    text = found.with_columns(pl.col(pl.Float64).round_sig_figs(6)).write_csv()
    return hashlib.sha256(text.encode()).hexdigest()[:16]
