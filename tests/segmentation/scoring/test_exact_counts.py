"""The live count of a large shop: a sample at once, and everybody once a worker has counted."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.utils import timezone

from segmentation import counts, exact_counts, previews, scoring, segments
from segmentation.models import Customer, LeaseState, RuleCount, ServicePriorityRule
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

pytestmark = pytest.mark.django_db
RULE = {"field": "customer.country", "op": "is", "value": "FR"}
OTHER = {"field": "customer.country", "op": "is", "value": "GB"}


@pytest.fixture(autouse=True)
def large(monkeypatch, champion):
    """60 classified customers, of whom 10 may be counted while somebody waits."""
    scoring.score_customers(list(Customer.objects.values_list("pk", flat=True)), scoring.pin())
    cache.clear()
    counts.store()
    monkeypatch.setattr(previews, "QUICK", 10)
    monkeypatch.setattr(previews, "SAMPLE", 10)
    monkeypatch.setattr(previews, "EXACT_LATER", 10)


def ask(client, **question):
    answer = client.post(page("segment_preview"), json.dumps(question), content_type="application/json")
    assert answer.status_code == 200
    return answer.json()


def test_first_a_sample_with_its_margin_then_everybody(admin_client):
    quick = ask(admin_client, rule=RULE)
    assert (quick["final"], "give or take" in quick["sentence"]) == (False, True)
    assert ask(admin_client, rule=RULE, exact=True) == {"waiting": True}
    assert ask(admin_client, rule=RULE, exact=True) == {"waiting": True}
    row = RuleCount.objects.get()
    exact_counts.work(row.pk)
    told = ask(admin_client, rule=RULE, exact=True)
    french = Customer.objects.filter(country="FR").count()
    assert (told["count"], told["final"], told["exact"]) == (str(french), True, True)
    assert "give or take" not in told["sentence"]
    assert sum(tier["count"] for tier in told["tiers"]) == french
    assert previews.count_all(RULE).count == french


def test_a_count_ends_with_an_edit_of_any_rule_and_after_ten_minutes():
    assert exact_counts.ask(RULE) is None
    exact_counts.work(RuleCount.objects.get().pk)
    assert exact_counts.ask(RULE) is not None
    RuleCount.objects.update(finished_at=timezone.now() - timedelta(minutes=11))
    assert exact_counts.ask(RULE) is None
    exact_counts.work(RuleCount.objects.get().pk)
    assert exact_counts.ask(RULE) is not None
    ServicePriorityRule.objects.create(position=1, name="x", level=4, condition=RULE, is_active=True)
    assert exact_counts.ask(RULE) is None


def test_whoever_edits_on_gives_up_the_count_before():
    eva = get_user_model().objects.create(username="eva")
    other = get_user_model().objects.create(username="other")
    exact_counts.ask(RULE, by=other)
    exact_counts.ask(OTHER, by=eva)
    running = RuleCount.objects.get(requested_by=eva)
    RuleCount.objects.filter(pk=running.pk).update(state=LeaseState.RUNNING)
    exact_counts.ask({"none": [RULE]}, by=eva)
    running.refresh_from_db()
    assert running.cancel_requested
    exact_counts.ask({"any": [RULE, OTHER]}, by=eva)
    kept = RuleCount.objects.filter(state=LeaseState.QUEUED).order_by("pk").values_list("rule", flat=True)
    assert list(kept) == [RULE, {"any": [RULE, OTHER]}]


def test_a_count_that_is_given_up_stops(monkeypatch):
    exact_counts.ask(RULE)
    monkeypatch.setattr(previews, "_CHUNK", 5)
    RuleCount.objects.update(cancel_requested=True)
    exact_counts.work(RuleCount.objects.get().pk)
    row = RuleCount.objects.get()
    assert (row.state, row.result) == (LeaseState.CANCELLED, None)
    assert exact_counts.ask(RULE) is None
    assert RuleCount.objects.get().state == LeaseState.QUEUED


def test_a_segment_that_is_deleted_meanwhile_is_no_crash():
    made = world.segment("Gone", rule=RULE)
    exact_counts.ask({"field": f"segment.{made.slug}", "op": "in"})
    row = RuleCount.objects.get()
    segments.delete(made)
    exact_counts.work(row.pk)
    row.refresh_from_db()
    assert (row.state, "no field called" in row.error) == (LeaseState.FAILED, True)


def test_a_bad_rule_is_named_and_nothing_is_queued(admin_client):
    told = ask(admin_client, rule={"field": "customer.shoes", "op": "is", "value": 1}, exact=True)
    assert told["problem"]["path"] == "field"
    assert not RuleCount.objects.exists()
