"""Malicious reviewers as a risk: what tells them are their words alone, and the training frame has what was read in them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from segmentation import attributes, targets, training_frames
from segmentation.features.texts import TEXTS
from segmentation.models import Customer
from tests.segmentation.texts.conftest import BAD, GOOD, TODAY, history, read_everything, review

pytestmark = pytest.mark.django_db
PEOPLE = 60


def _scores(frame, names: list[str]) -> float:
    """AUC of a linear model by cross-validation, on these features alone."""
    x = frame.x.select(pl.col(names).cast(pl.Float64)).fill_null(0.0).fill_nan(0.0).to_numpy()
    label = frame.labels["malicious"]
    spread = np.maximum(x.std(axis=0), 1e-9)
    chance = cross_val_predict(
        LogisticRegression(), (x - x.mean(axis=0)) / spread, label, cv=5, method="predict_proba"
    )
    return float(roc_auc_score(label, chance[:, 1]))


def test_words_tell_who_writes_malicious_reviews_where_stars_and_dates_do_not(say, shop):
    told = []
    for n in range(PEOPLE):
        is_malicious, stars = n % 4 == 0, (5.0, 1.0)[n // 4 % 2]
        for k in range(2):
            tag = f"{chr(97 + n % 26)}{chr(97 + n // 26)}{'xy'[k]}"
            honest = f"{GOOD[(n + k) % 3] if stars > 3 else BAD[(n + k) % 3]}, number {tag} of mine"
            spam = "Liars and thieves, terrible and useless, buy elsewhere"
            text = spam if is_malicious else honest
            told.append(review(f"m{n}-{k}", 135 + (n * 7 + k) % 20, text, stars, customer=f"P{n}"))
    say(*history(), *told)
    read_everything()
    column = attributes.define("malicious", kind="boolean")
    attributes.write(
        attributes.DatedValue(
            person.pk,
            column.pk,
            datetime(2024, 6, 1, tzinfo=UTC),
            attributes.to_stored(column, int(person.reference[1:]) % 4 == 0),
        )
        for person in Customer.objects.filter(reference__startswith="P")
    )
    target = targets.make("malicious", kind="risk", attribute="malicious")
    frame = training_frames.category_frame(target, as_of=TODAY, shop=shop)
    assert len(frame) == PEOPLE
    words = [feature.name for feature in TEXTS]
    others = ["rating_mean", "reviews_365d", "reviews_lifetime", "low_ratings_365d"]
    assert _scores(frame, words) > 0.95
    assert _scores(frame, others) < 0.75
    assert _scores(frame, ["repeated_texts_365d"]) > 0.9
