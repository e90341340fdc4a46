"""Asking for a training: gates before the queue, one run a target, cancel, and ends that free the target."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.auth import get_user_model

from segmentation import leases, targets, training_runs
from segmentation.jobs import Job
from segmentation.models import AuditEntry, Event, LeaseState, TrainingRun
from tests.support import mini_shop


@pytest.fixture
def run(small_shop, standard):
    return training_runs.request(standard)


def test_a_request_is_a_queued_row_and_a_nudge(
    small_shop, standard, nudges, django_capture_on_commit_callbacks
):
    person = get_user_model().objects.create(username="ann")
    with django_capture_on_commit_callbacks(execute=True):
        run = training_runs.request(standard, preset="fast", seed=7, requested_by=person)
    assert (run.state, run.preset, run.seed, run.requested_by) == (LeaseState.QUEUED, "fast", 7, person)
    assert run.as_of == small_shop.scoring_as_of()
    assert nudges == [(Job.RUN_TRAINING, {"run_id": run.pk})]
    assert AuditEntry.objects.get(action="training.request").actor == person


def test_a_target_that_is_being_trained_is_refused_by_name(run, standard):
    with pytest.raises(training_runs.AlreadyTraining) as refusal:
        training_runs.request(standard[:1])
    assert (
        str(refusal.value)
        == f"“Stops buying” is being trained already by run {run.pk}. Wait for it or cancel it."
    )
    assert refusal.value.run == run
    assert TrainingRun.objects.count() == 1


def test_too_few_customers_are_refused_with_the_numbers(standard):
    mini_shop.build(41)
    with pytest.raises(training_runs.NotEnoughData) as refusal:
        training_runs.request(standard)
    assert str(refusal.value) == "Not enough data to train: needs 200 customers with an order, has 41."
    assert refusal.value.missing == {"customers with an order": (41, 200)}
    assert not TrainingRun.objects.exists()


def test_too_short_a_history_is_refused(small_shop, standard):
    first = mini_shop.TODAY - dt.timedelta(days=100)
    Event.objects.filter(occurred_at__lt=dt.datetime.combine(first, dt.time(), tzinfo=dt.UTC)).delete()
    with pytest.raises(training_runs.NotEnoughData, match="needs 270 days since the first order, has 10"):
        training_runs.request(standard)


def test_a_shop_whose_orders_ended_long_ago_is_refused(small_shop, standard):
    with pytest.raises(training_runs.NotEnoughData, match="needs 1 orders in the last 90 days, has 0"):
        training_runs.request(standard, as_of=mini_shop.TODAY + dt.timedelta(days=200))


def test_an_empty_shop_an_unknown_preset_and_no_target_are_refused(small_shop, standard):
    with pytest.raises(training_runs.TrainingError, match="There is no preset called huge"):
        training_runs.request(standard, preset="huge")
    with pytest.raises(training_runs.TrainingError, match="at least one target"):
        training_runs.request([])
    Event.objects.all().delete()
    with pytest.raises(training_runs.NotEnoughData, match="has 0"):
        training_runs.request(standard)


def test_a_waiting_run_is_cancelled_at_once_and_frees_its_targets(run, standard):
    assert training_runs.request_cancel(run) is True
    assert run.state == LeaseState.CANCELLED
    assert training_runs.claim(run.pk) is None
    assert training_runs.request(standard).state == LeaseState.QUEUED
    assert training_runs.request_cancel(run) is False


def test_a_running_run_is_asked_to_stop_and_stops_at_its_next_word(run):
    claimed = training_runs.claim(run.pk)
    assert training_runs.request_cancel(run) is True
    assert run.state == LeaseState.RUNNING
    with pytest.raises(leases.Cancelled):
        training_runs.report_progress(claimed, progress=0.5, note="Reading history")
    training_runs.cancel(claimed)
    assert not run.run_targets.filter(is_active=True).exists()


@pytest.mark.parametrize("ending", ["finish", "fail", "cancel"])
def test_every_end_frees_the_targets(run, ending):
    claimed = training_runs.claim(run.pk)
    assert run.run_targets.filter(is_active=True).count() == 3
    if ending == "finish":
        training_runs.finish(claimed, summary={"versions": []})
    elif ending == "fail":
        training_runs.fail(claimed, "out of memory")
    else:
        training_runs.cancel(claimed)
    assert not run.run_targets.filter(is_active=True).exists()


def test_a_run_parked_by_the_sweep_frees_its_targets(run, standard):
    training_runs.claim(run.pk)
    long_ago = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    TrainingRun.objects.update(lease_until=long_ago, attempts=training_runs.MAX_ATTEMPTS)
    assert training_runs.claim(run.pk) is None
    run.refresh_from_db()
    assert run.state == LeaseState.FAILED
    assert training_runs.request(standard).pk != run.pk


def test_a_second_worker_cannot_claim_and_a_lost_one_cannot_write(run):
    first = training_runs.claim(run.pk)
    assert training_runs.claim(run.pk) is None
    TrainingRun.objects.update(lease_until=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    second = training_runs.claim(run.pk)
    assert second.fence == first.fence + 1
    for write in (
        lambda: training_runs.report_progress(first, progress=0.9),
        lambda: training_runs.finish(first, summary={}),
        lambda: training_runs.fail(first, "late"),
    ):
        with pytest.raises(leases.LeaseLost):
            write()
    run.refresh_from_db()
    assert (run.state, run.progress, run.error) == (LeaseState.RUNNING, 0, "")
    assert training_runs.held(run.pk, second.fence) == run


def test_targets_are_explained_in_words(standard):
    assert [targets.definition(target) for target in targets.active(["churn"])] == [
        "The chance that the customer places no order in the next 90 days."
    ]
    assert targets.install() == standard, "installing again changes nothing"
