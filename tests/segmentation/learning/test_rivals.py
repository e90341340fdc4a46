"""Which champion may be compared with a new version, and which one may not."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

import pytest

from segmentation import rivals
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.ml import schema
from segmentation.models import ModelVersion

CUTS = (320.0, 754.0)
TEST = "2023-09-01"


@dataclass
class Material:
    """What a comparison looks at of a training's material."""

    targets: tuple = (schema.CHURN, schema.VALUE_TIER)
    snapshot: dict = field(default_factory=lambda: {"test_cutoff": TEST})
    tier_cuts: dict = field(default_factory=lambda: {"value_tier": CUTS})


def champion(*, last="2023-06-03", cuts=CUTS, catalogue=CATALOGUE_VERSION, **classes) -> ModelVersion:
    return ModelVersion(
        number=1,
        catalogue_version=catalogue,
        config={
            "classes": {"value_tier": list(schema.VALUE_TIER.classes), **classes},
            "tier_cuts": {"value_tier": list(cuts)},
        },
        data_snapshot={"cutoffs": {"2023-03-05": 10, last: 10}},
    )


@pytest.mark.parametrize("target", [schema.CHURN, schema.VALUE_TIER])
def test_a_champion_whose_labels_end_by_the_test_day_is_a_rival(target):
    assert rivals.unfair(champion(), target, Material()) == ""


@pytest.mark.parametrize("last", ["2023-06-04", TEST, "2023-10-01"])
def test_a_champion_that_saw_a_day_of_the_test_window_is_none(last):
    """Not only one that learned from the test day itself: its labels run 90 days ahead."""
    reason = rivals.unfair(champion(last=last), schema.CHURN, Material())
    assert "learned from what customers did in the days" in reason


def test_tiers_cut_at_other_amounts_are_other_classes_and_only_for_the_tiers():
    old = champion(cuts=(300.0, 754.0))
    assert "cuts the tiers at other amounts" in rivals.unfair(old, schema.VALUE_TIER, Material())
    assert rivals.unfair(old, schema.CHURN, Material()) == ""


def test_other_classes_and_older_features_are_no_comparison():
    other = champion(value_tier=["low", "high"])
    assert "knows other classes" in rivals.unfair(other, schema.VALUE_TIER, Material())
    assert "older set of features" in rivals.unfair(champion(catalogue="old"), schema.CHURN, Material())


def test_categories_are_compared_on_the_same_day_again():
    """Their held-out customers are always the same ones, so the champion has not seen them."""
    kind = schema.Target(name="kind", kind="multiclass", classes=("a", "b"))
    version = champion(last=TEST, kind=["a", "b"])
    assert rivals.unfair(version, kind, Material(targets=(kind,), tier_cuts=MappingProxyType({}))) == ""
