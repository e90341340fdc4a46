"""What would change a score, and reasons by LIME: answered by a worker, through the serving version itself."""

from __future__ import annotations

import pytest
from django.urls import reverse

from segmentation import questions, scoring, serving, steps
from segmentation.features.catalogue import BY_NAME
from segmentation.features.influence import EITHER_WAY, INFLUENCE, is_believable
from segmentation.ml.schema import CHURN, FUTURE_VALUE, VALUE_TIER, Column
from segmentation.models import Customer, Explanation, Score, Target
from tests.segmentation.scoring.conftest import FEATURES, RulePredictor

CHANGE, LIME = Explanation.Kind.CHANGE, Explanation.Kind.LIME


class Known(RulePredictor):
    """As the rules, and says what it reads."""

    targets = (CHURN, VALUE_TIER, FUTURE_VALUE)
    columns = tuple(Column(name=name, kind="numeric") for name in FEATURES)


@pytest.fixture
def scored(champion, monkeypatch):
    monkeypatch.setattr(serving, "predictor", lambda version: Known())
    scoring.score_customers(list(Customer.objects.values_list("pk", flat=True)), scoring.pin())
    return Score.objects.select_related("target", "version", "customer")


def low(scored):
    return scored.filter(target__slug="value_tier", label="low").first()


def answered(score, kind, wanted=""):
    row = questions.ask(score, kind, wanted)
    questions.answer(row.pk)
    row.refresh_from_db()
    return row


def test_the_smallest_step_is_found_and_really_gives_the_wanted_answer(scored):
    score = low(scored)
    found = answered(score, CHANGE, "middle").result
    assert found["reached"]
    assert found["steps"] == {"orders": 1, "size": 1.0, "extras": []}
    assert found["now"][0] == "low"
    assert found["then"][0] == "middle"
    moved = {name: (before, after) for name, before, after in found["features"]}
    assert moved["orders_lifetime"] == (1.0, 2.0)
    assert moved["recency_days"][1] == 1.0 or moved["recency_days"][1] < moved["recency_days"][0]
    assert answered(score, CHANGE, "high").result["steps"]["orders"] == 2
    score.refresh_from_db()
    assert score.label == "low", "asking changes nothing"


def test_a_chance_to_leave_is_brought_down(scored):
    score = scored.filter(target__slug="churn", value__gte=0.66).first()
    found = answered(score, CHANGE, "stays").result
    assert found["reached"]
    assert found["then"][1] < 0.35


def test_what_cannot_be_reached_says_what_comes_nearest(scored, monkeypatch):
    monkeypatch.setattr(steps, "ORDERS", (0, 1))
    found = answered(low(scored), CHANGE, "high").result
    assert not found["reached"]
    assert found["tried"] > 1


@pytest.mark.parametrize("wanted", ["low", "none", "gold", ""])
def test_only_better_classes_can_be_wanted(scored, wanted):
    with pytest.raises(questions.QuestionError):
        questions.ask(low(scored), CHANGE, wanted)
    assert not Explanation.objects.exists()


def test_lime_finds_the_features_that_the_model_reads(scored):
    score = scored.filter(target__slug="churn", abstain_reason="").order_by("-value").first()
    found = answered(score, LIME).result
    assert {name for name, _share, _value in found["shares"]} <= set(FEATURES)
    assert found["shares"][0][0] == "recency_days"
    assert found["shares"][0][1] > 0
    assert 0 < found["fit"] <= 1
    again = answered(score, LIME)
    assert again.result == found, "it is kept"


def test_a_newer_score_needs_a_new_answer(scored):
    score = low(scored)
    first = answered(score, CHANGE, "middle")
    scoring.score_customers([score.customer_id], scoring.pin())
    fresh = scored.get(pk=score.pk)
    row = questions.ask(fresh, CHANGE, "middle")
    assert (row.pk, row.result) == (first.pk, None)
    assert Explanation.objects.count() == 1


def test_what_may_be_influenced_is_in_the_catalogue_and_has_a_direction():
    assert set(INFLUENCE) <= set(BY_NAME)
    assert set(INFLUENCE) >= EITHER_WAY
    assert not is_believable("recency_days", 10, 20)
    assert not is_believable("orders_30d", 1, 5)
    assert is_believable("orders_30d", 1, 4)
    assert is_believable("season_next_90d", 1, 9), "what is not declared is not judged"


def test_steps_are_ordered_by_what_they_ask_and_start_with_nothing():
    tried = steps.suggestions(open_tickets=False)
    assert tried[0] == steps.Suggestion()
    assert [one.effort for one in tried] == sorted(one.effort for one in tried)
    assert not any("ticket" in one.extras for one in tried)
    assert any("ticket" in one.extras for one in steps.suggestions(open_tickets=True))


def test_the_page_asks_polls_and_tells_it_in_words(scored, admin_client):
    score = low(scored)
    address = reverse("admin:segmentation_customer_questions", args=[score.customer_id, score.target_id])
    assert "What would make it “High value”?" in admin_client.get(address).content.decode()
    asked = admin_client.get(address, {"kind": "change", "wanted": "middle"}).content.decode()
    row = Explanation.objects.get()
    panel = reverse("admin:segmentation_customer_answer", args=[score.customer_id, row.pk])
    assert panel in asked
    assert admin_client.get(panel).status_code == 202
    questions.answer(row.pk)
    told = admin_client.get(panel).content.decode()
    assert "If the customer orders once more as usual" in told
    assert "the model would say “Middle value”" in told
    assert "Orders ever" in told
    assert admin_client.get(address, {"kind": "change", "wanted": "gold"}).status_code == 404
    assert admin_client.get(address, {"kind": "nonsense"}).status_code == 200
    lime = admin_client.get(address, {"kind": "lime"})
    questions.answer(Explanation.objects.latest("pk").pk)
    assert "Found by LIME" in admin_client.get(address, {"kind": "lime"}).content.decode()
    assert lime.status_code == 200


def test_a_score_that_is_gone_is_not_answered_with_old_numbers(scored):
    row = questions.ask(low(scored), CHANGE, "middle")
    Score.objects.all().delete()
    questions.answer(row.pk)
    row.refresh_from_db()
    assert row.result == {"refused": "no_score"}
    assert Target.objects.exists()
