"""Trainings that nobody asks for: by the schedule, or because a serving version no longer fits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from segmentation import monitoring, registry, retraining, targets, training_runs
from segmentation.dashboard import schedules
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.models import (
    Alert,
    AttributeDefinition,
    ModelCheck,
    ModelVersion,
    ScoringRun,
    Shop,
    TrainingRun,
)

NOW = timezone.now()


@pytest.fixture
def served(standard, monkeypatch):
    """All three targets are served since today; data is never short."""
    monkeypatch.setattr(training_runs, "require_enough_data", lambda *args, **kwargs: None)
    version = ModelVersion.objects.create(
        number=1,
        algorithm="blend",
        features=[],
        catalogue_version=CATALOGUE_VERSION,
        artifact_sha256="0" * 64,
    )
    version.targets.set(standard)
    for target in standard:
        registry.promote(target, version)
    return version


def shop(**fields):
    Shop.get()
    Shop.objects.update(**fields)


def test_what_is_served_is_trained_when_the_schedule_says_so_and_once(served, standard):
    shop(train_every_days=30)
    assert retraining.start_if_due(NOW + timedelta(days=29)) == []
    (run,) = retraining.start_if_due(NOW + timedelta(days=31))
    assert (run.cause, run.cause_note) == ("schedule", "The shop trains every 30 days.")
    assert set(run.targets.all()) == set(standard)
    assert retraining.start_if_due(NOW + timedelta(days=31)) == [], "it is under way"


def test_it_rests_after_a_failure_and_then_tries_again(served):
    shop(train_every_days=30, train_pause_days=7)
    ModelVersion.objects.update(created_at=NOW - timedelta(days=40))
    assert retraining.start_if_due(NOW + timedelta(minutes=1))
    TrainingRun.objects.update(state="failed")
    training_runs.release_abandoned()
    assert retraining.start_if_due(NOW + timedelta(days=6)) == []
    assert retraining.start_if_due(NOW + timedelta(days=8))


@pytest.mark.parametrize("fields", [{"train_every_days": None}, {"frozen_on": "2024-01-01"}])
def test_a_shop_without_a_schedule_or_with_a_day_that_stands_still_trains_nothing(served, fields):
    shop(**fields)
    assert retraining.start_if_due(NOW + timedelta(days=400)) == []
    assert retraining.next_at(Shop.get()) is None


def test_what_nothing_serves_is_not_trained_by_itself(standard):
    shop(train_every_days=1)
    assert retraining.start_if_due(NOW + timedelta(days=400)) == []


def test_it_trains_as_what_serves_was_trained_and_not_as_was_tried_last(served, standard):
    config = {"algorithms": ["lightgbm", "gru"], "search": 40, "optimiser": "sgd"}
    made = TrainingRun.objects.create(preset="sequence", seed=7, config=config, state="done")
    ModelVersion.objects.filter(pk=served.pk).update(training_run=made)
    tried = TrainingRun.objects.create(preset="fast", config={"algorithms": ["decision_tree"]}, state="done")
    for run in (made, tried):
        run.targets.set(standard)
        training_runs.release_abandoned()
    TrainingRun.objects.update(created_at=NOW - timedelta(days=60))
    shop(train_every_days=30)
    (run,) = retraining.start_if_due(NOW)
    assert (run.preset, run.seed) == ("sequence", 7)
    assert run.config == {"algorithms": ["lightgbm", "gru"], "optimiser": "sgd"}, (
        "a search is not paid for again"
    )


def test_what_staff_label_learns_by_itself_so_that_few_labels_hold_up_nothing_else(
    served, standard, monkeypatch
):
    column = AttributeDefinition.objects.create(slug="plan", label="Plan", kind="choice", choices=["a", "b"])
    plan = targets.make("plan", kind="category", attribute=column.slug)
    served.targets.add(plan)
    registry.promote(plan, served)

    def few(wanted, **kwargs):
        if plan in wanted:
            raise training_runs.NotEnoughData({"labels": (3, 200)})

    monkeypatch.setattr(training_runs, "require_enough_data", few)
    shop(train_every_days=1)
    (run,) = retraining.start_if_due(NOW + timedelta(days=3))
    assert set(run.targets.all()) == set(standard)
    assert "needs 200 labels, has 3" in Alert.objects.get(key="retraining").message


def test_drift_starts_one_training_where_the_shop_wants_it(served, standard):
    made = ModelCheck.objects.create(
        version=served, target=standard[0], as_of=NOW.date(), customers=500, answers=0.4
    )
    monitoring._tell_of_drift(made)
    assert Alert.objects.filter(resolved_at=None).count() == 1
    assert not TrainingRun.objects.exists(), "an alert alone"
    shop(train_on_alerts=True)
    monitoring._tell_of_drift(made)
    run = TrainingRun.objects.get()
    assert run.cause == "drift"
    assert "are spread otherwise" in run.cause_note
    TrainingRun.objects.update(state="done")
    training_runs.release_abandoned()
    monitoring._tell_of_drift(made)
    assert TrainingRun.objects.count() == 1, "it rests"
    TrainingRun.objects.update(created_at=NOW - timedelta(days=8))
    monitoring._tell_of_drift(made)
    assert TrainingRun.objects.count() == 2


def test_a_training_that_cannot_start_is_an_alert_and_breaks_nothing(served, standard, monkeypatch):
    def refuse(*args, **kwargs):
        raise training_runs.NotEnoughData({"customers": (1, 200)})

    monkeypatch.setattr(training_runs, "require_enough_data", refuse)
    shop(train_every_days=1)
    assert retraining.start_if_due(NOW + timedelta(days=3)) == []
    assert "needs 200 customers, has 1" in Alert.objects.get(key="retraining").message


def test_both_schedules_are_shown_with_last_and_next(served, admin_client):
    shop(train_every_days=30, classify_every_days=7, classify_hour=3)
    day = NOW.date()
    ScoringRun.objects.create(as_of=day + timedelta(days=1), state="done", finished_at=NOW)
    coming = schedules.next_classification(Shop.get(), NOW)
    assert (coming.date(), coming.hour) == (day + timedelta(days=7), 3)
    rows = schedules.read(Shop.get(), NOW)
    assert [row.what for row in rows] == ["Everyone is classified", "Models are trained"]
    for address in ("/admin/", "/admin/segmentation/modelversion/"):
        text = admin_client.get(address).content.decode()
        assert "Schedules" in text
        assert rows[0].next in text
        assert rows[1].next in text
