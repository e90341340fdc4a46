"""The card says in plain words what stands in the figures, and as JSON the same."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from segmentation import targets
from segmentation.dashboard import model_card
from tests.segmentation.admin import world


@pytest.fixture(autouse=True)
def _usual(db):
    targets.install()


def page(name, *args):
    return reverse(f"admin:segmentation_modelversion_{name}", args=args)


def test_the_card_in_words_and_as_json(admin_client):
    made = world.version(1)
    made.data_snapshot = {"rows": 900, "customers": 400, "cutoffs": {"2024-01-01": 400, "2024-03-31": 500},
                          "test_rows": 300, "test_cutoff": "2024-06-29", "warnings": ["3 rows look alike."]}  # fmt: skip
    made.features = ["recency_days", "attribute.size"]
    made.save()
    text = admin_client.get(page("card", made.pk)).content.decode()
    for words in (
        "ranks the right one first in 78 of 100 pairs (77 to 79)",
        "Clearly better than Purchase model (BG/NBD)",
        "from 900 rows of 400 customers, as they were on 2 days",
        "tested on 300 customers",
        "3 rows look alike.",
        "Of the shop&#x27;s own columns it reads: size",
        "places no order in the next 90 days",
        "without differential privacy",
        "It does not serve",
    ):
        assert words in text, words
    answer = admin_client.get(page("card_json", made.pk))
    assert "attachment" in answer["Content-Disposition"]
    found = json.loads(answer.content)
    assert found["version"] == 1
    assert found["targets"][0]["slug"] == "churn"
    assert found["features"] == ["recency_days", "attribute.size"]


def test_differences_that_are_not_clear_are_not_called_better():
    made = world.version(1)
    made.evaluation["churn"]["differences"]["btyd"]["auc"] = {"value": 0.01, "low": -0.01, "high": 0.03}
    (target,) = model_card.card(made).targets
    assert target.beside == (
        "Not clearly different from Purchase model (BG/NBD): Ranking (AUC) +0.010 (-0.010 to +0.030).",
    )


def test_a_version_without_figures_or_files_still_has_a_card(admin_client):
    made = world.version(1)
    made.evaluation, made.data_snapshot = {}, {}
    made.save()
    text = admin_client.get(page("card", made.pk)).content.decode()
    assert "No labels were there to judge it by." in text
