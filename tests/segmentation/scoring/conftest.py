"""A small shop with champions that answer by simple rules: scoring is tested, not learning."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation import registry, serving, targets
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.ml.schema import TargetPrediction
from segmentation.models import ModelVersion
from tests.support import mini_shop

FEATURES = ["recency_days", "orders_lifetime"]


class RulePredictor:
    """Churn by recency, tier and spend by the number of orders; row by row, so any batch gives the same."""

    events_read = 0

    def predict(self, frame):
        recency = frame.x["recency_days"].to_numpy()
        orders = frame.x["orders_lifetime"].to_numpy()
        positive = np.round(np.clip(recency / 365, 0, 1), 6)
        tier = np.minimum(orders, 3).astype(int)
        return {
            "churn": TargetPrediction(probabilities=np.stack([1 - positive, positive], axis=1)),
            "value_tier": TargetPrediction(probabilities=np.eye(4)[tier] * 0.9 + 0.025, decided=tier),
            "future_value": TargetPrediction(
                mean=orders * 10.0, median=orders * 8.0, lower=orders * 1.0, upper=orders * 30.0
            ),
        }


@pytest.fixture
def shop(db):
    return mini_shop.build(60)


def make_version(wanted, number, **fields):
    defaults = {
        "algorithm": "blend", "features": FEATURES, "catalogue_version": CATALOGUE_VERSION,
        "artifact_sha256": f"{number:064d}",
    }  # fmt: skip
    version = ModelVersion.objects.create(number=number, **{**defaults, **fields})
    version.targets.set(wanted)
    return version


@pytest.fixture
def champion(shop, monkeypatch):
    """A version that serves all three targets."""
    monkeypatch.setattr(serving, "predictor", lambda version: RulePredictor())
    wanted = targets.install()
    version = make_version(wanted, 1)
    for target in wanted:
        registry.promote(target, version)
    return version
