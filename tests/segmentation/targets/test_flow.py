"""From a row to the customer's page: trained, scored, shown with what it means."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from django.urls import reverse

from segmentation import scoring, targets
from segmentation.models import AttributeDefinition, Customer, LeaseState, ModelVersion, Score
from tests.segmentation.learning.conftest import train

SINCE = dt.datetime(2022, 9, 10, tzinfo=dt.UTC)


def shown(client, customer):
    return client.get(reverse("admin:segmentation_customer_change", args=[customer.pk])).content.decode()


def score_all():
    ids = list(Customer.objects.values_list("pk", flat=True))
    return scoring.score_customers(ids, scoring.pin())


def test_the_chance_of_an_order_within_each_span_of_days(admin_client, small_shop):
    target = targets.make("soon", kind="next_order", options={"days": "7, 30, 90"})
    run = train([target])
    assert (run.state, run.error) == (LeaseState.DONE, "")
    figures = ModelVersion.objects.get(algorithm="blend").evaluation["soon"]
    assert figures["metrics"]["qwk"]["low"] <= figures["metrics"]["qwk"]["high"]
    score_all()
    score = Score.objects.filter(target=target, abstain_reason="").first()
    chances = np.frombuffer(bytes(score.probabilities), dtype="<f8")
    assert (np.diff(chances) >= 0).all(), "within 30 days is never less likely than within 7"
    assert chances[-1] == pytest.approx(1.0, abs=1e-5)
    text = shown(admin_client, score.customer)
    assert "an order within 30 days:" in text
    assert "the chance of an order within each span of days, up to 90 days" in text
    pinned = scoring.pin()
    frame = scoring.frame_for([score.customer_id], pinned)
    assert frame["score.soon.within_30"][0] == pytest.approx(chances[1], abs=1e-6)


def test_a_risk_is_learned_from_marked_customers(admin_client, small_shop):
    marked = AttributeDefinition.objects.create(slug="checked", label="Checked", kind="text")
    rng = np.random.default_rng(1)
    for person in Customer.objects.all():
        often = person.events.count() > 12
        label = "fraud" if often and rng.random() < 0.9 else "fine" if rng.random() < 0.8 else "unclear"
        marked.values.create(customer=person, text=label, valid_from=SINCE)
    target = targets.make("fraud", kind="risk", attribute="checked", options={"positive": "fraud"})
    run = train([target], config={"epochs": 10, "boosting_rounds": 40})
    assert (run.state, run.error) == (LeaseState.DONE, "")
    figures = ModelVersion.objects.get(algorithm="blend").evaluation["fraud"]
    assert figures["metrics"]["auc"]["value"] > 0.8
    assert "attribute.checked" not in ModelVersion.objects.get(algorithm="blend").features
    score_all()
    score = Score.objects.filter(target=target).first()
    assert 0 <= score.value <= 1
    assert score.label == ""
    text = shown(admin_client, score.customer)
    assert "fraud: " in text
    assert "would mark the customer as “fraud” in “Checked”" in text


def test_tiers_at_amounts_of_money_are_cut_there(small_shop):
    target = targets.make("bands", kind="value_tier", options={"borders": "40, 120"})
    run = train([target])
    assert (run.state, run.error) == (LeaseState.DONE, "")
    blend = ModelVersion.objects.get(algorithm="blend")
    assert blend.config["tier_cuts"]["bands"] == [40.0, 120.0]
    score_all()
    found = set(Score.objects.filter(target=target, abstain_reason="").values_list("label", flat=True))
    assert found <= {"none", "low", "middle", "high"}
    assert len(found) > 1
