"""What a version leans on, and the imitation by a linear model: found where they are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from segmentation.ml import importance, lime
from segmentation.ml.schema import CHURN, FUTURE_VALUE, Frame, TargetPrediction
from segmentation.ml.sequences import Sequences

ROWS = 500


def chance(x: pl.DataFrame) -> np.ndarray:
    return 1 / (1 + np.exp(-(3 * x["recency_days"].to_numpy() - 1.0 * x["visits_30d"].to_numpy())))


def predict(frame: Frame):
    """Reads recency and a window of visits, and nothing of the noise."""
    leaving = chance(frame.x)
    return {
        "churn": TargetPrediction(probabilities=np.stack([1 - leaving, leaving], axis=1)),
        "future_value": TargetPrediction(mean=np.exp(frame.x["visits_90d"].to_numpy())),
    }


@pytest.fixture
def frame():
    rng = np.random.default_rng(1)
    names = ("recency_days", "visits_30d", "visits_90d", "noise")
    x = pl.DataFrame({name: rng.normal(size=ROWS) for name in names})
    labels = {
        "churn": (rng.random(ROWS) < chance(x)).astype(float),
        "future_value": np.exp(x["visits_90d"].to_numpy()),
    }
    return Frame(ids=np.arange(ROWS), cutoffs=np.zeros(ROWS, dtype="datetime64[D]"), x=x, labels=labels)


def test_what_is_read_is_needed_and_windows_go_together(frame):
    found = importance.permutation(predict, frame, (CHURN, FUTURE_VALUE), frame.x.columns, rows=ROWS)
    first, second, last = found["churn"]
    assert [first["features"], second["features"]] == [["recency_days"], ["visits_30d", "visits_90d"]]
    assert first["low"] > second["high"] > second["low"] > 0
    assert last == {"features": ["noise"], "value": 0.0, "low": 0.0, "high": 0.0}
    assert found["future_value"][0]["features"] == ["visits_30d", "visits_90d"]


def test_a_model_that_reads_events_is_asked_with_the_events_of_every_row(frame):
    """Without them its training would fail at the very end."""
    events = Sequences.empty(ROWS, 4)
    events.lengths[:] = np.arange(ROWS) % 4
    asked = []

    def watch(given):
        asked.append(None if given.events is None else given.events.lengths.tolist())
        return predict(given)

    importance.permutation(watch, replace(frame, events=events), (CHURN,), frame.x.columns, rows=100)
    assert len(asked) == 4, "as it is, and with each of three groups shuffled"
    assert all(one == asked[0] and one is not None for one in asked)


def test_all_that_a_reader_of_events_is_given_changes_places_together(frame):
    events = Sequences.empty(ROWS, 4)
    events.lengths[:] = np.where(frame.labels["churn"] > 0, 1, 3)

    def read(given):
        leaving = np.where(given.events.lengths == 1, 0.9, 0.1)
        return {"churn": TargetPrediction(probabilities=np.stack([1 - leaving, leaving], axis=1))}

    given = replace(frame, events=events)
    found = importance.permutation(read, given, (CHURN,), frame.x.columns, with_events=True, rows=ROWS)
    assert found["churn"][0]["features"] == ["events"]
    assert found["churn"][0]["low"] > 0.3
    assert {one["value"] for one in found["churn"][1:]} == {0.0}
    without = importance.permutation(read, given, (CHURN,), frame.x.columns, rows=ROWS)
    assert ["events"] not in [one["features"] for one in without["churn"]]


def test_the_same_seed_gives_the_same_figures(frame):
    once, again = (
        importance.permutation(predict, frame, (CHURN,), frame.x.columns, rows=100, seed=3) for _ in range(2)
    )
    assert once == again


def test_lime_recovers_the_terms_of_a_linear_model(frame):
    row = frame.x[:1].with_columns(pl.lit(2.0).alias("recency_days"), pl.lit(2.0).alias("visits_30d"))
    found = lime.explain(predict, row, frame.x, target=CHURN, of_class=1)
    shares = dict(zip(found.names, found.shares.tolist(), strict=True))
    mean = frame.x.mean().row(0, named=True)
    assert shares["recency_days"] == pytest.approx(3 * (2 - mean["recency_days"]), abs=0.8)
    assert shares["visits_30d"] == pytest.approx(-(2 - mean["visits_30d"]), abs=0.8)
    assert abs(shares["noise"]) < 0.4
    assert found.fit > 0.4


def test_lime_explains_expected_values_by_their_logarithm(frame):
    row = frame.x[:1].with_columns(pl.lit(3.0).alias("visits_90d"))
    found = lime.explain(predict, row, frame.x, target=FUTURE_VALUE, of_class=1)
    assert max(zip(found.shares, found.names, strict=True))[1] == "visits_90d"
