"""Figures of `make quality`: what is put together from them, on made-up answers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from benchmarks import quality_tables as tables
from benchmarks import simulated


@pytest.fixture
def shops():
    """Five shops in which the blend knows as much as the oracle, and the reader of events more than the table."""
    rng = np.random.default_rng(1)
    parts = []
    for seed in simulated.SEEDS:
        truth = rng.random(400)
        left = (rng.random(400) < truth).astype(float)
        spend = rng.gamma(1.0, 1.0, 400) * (1 - left)
        parts.append(
            pl.DataFrame(
                {
                    "seed": np.full(400, seed),
                    "signal": ["on"] * 400,
                    "churned": left,
                    "spend": spend,
                    "oracle.churn": truth,
                    "oracle.value": 1 - truth,
                    "churn.blend": truth / 2,
                    "value.blend": 3 * (1 - truth),
                    "churn.customer_net": truth,
                    "churn.tabm": truth + rng.normal(0, 0.5, 400),
                }
            )
        )
    return pl.concat(parts)


MADE = simulated.Made("Simulated shop", "python -m benchmarks.quality")


def test_whoever_ranks_like_the_oracle_has_all_of_its_share(shops):
    rows = {
        (row["target"], row["model"], row["metric"]): row
        for row in simulated._beside_the_oracle(shops, 20, MADE)
    }
    for target, name in (("churn", "auc"), ("future_value", "gini")):
        share = rows[target, "blend", f"{name} as a share of the oracle's"]
        assert share["value"] == pytest.approx(1.0)
        assert share["interval"] == pytest.approx([1.0, 1.0])
        assert rows[target, "oracle", name]["n"] == 2000


def test_a_gain_is_paired_over_all_shops(shops):
    (row,) = simulated._gain(shops, "on", 50, MADE)
    low, high = row["interval"]
    assert 0 < low < row["value"] < high


def test_parts_are_kept_and_put_together_with_their_goals(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PAGE", tmp_path / "quality.md")
    row = {
        "dataset": "Online Shoppers",
        "target": "bought",
        "model": "blend",
        "metric": "auc",
        "value": 0.9361,
        "interval": [0.931, 0.941],
        "n": 12330,
        "command": "python -m benchmarks.quality",
    }
    tables.keep(tmp_path, "shoppers", [row])
    tables.keep(tmp_path, "retail", [{**row, "dataset": "Online Retail II", "target": "churn"}])
    tables.keep(tmp_path, "shoppers", [{**row, "value": 0.9372}])
    rows = tables.write(tmp_path)
    assert [found["value"] for found in rows] == [0.9361, 0.9372], "the newest of each part"
    page = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert "| *goal* | ≥ .938 |" in page
    assert "| blend | 0.9372 [0.9310, 0.9410] |" in page
