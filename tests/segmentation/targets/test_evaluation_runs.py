"""An evaluation asked for in the admin: run by a worker, watched, read and downloaded."""

from __future__ import annotations

import io
import json

import polars as pl
import pytest
from django.urls import reverse

from segmentation import evaluation_runs, jobs, leases, targets
from segmentation.models import AttributeDefinition, EvaluationRun, LeaseState, Target
from segmentation.training_runs import TrainingError
from tests.segmentation.admin import world
from tests.segmentation.learning.conftest import QUICK

SMALL = {name: value for name, value in QUICK.items() if name != "rounds"}


def page(name, *args):
    return reverse(f"admin:segmentation_evaluationrun_{name}", args=args)


def churn():
    targets.install()
    return Target.objects.get(slug="churn")


def test_an_evaluation_from_the_admin_gives_figures_curves_and_files(admin_client, small_shop):
    asked = {"targets": [churn().pk], "origins": "2023-09-01, 2023-12-01", "preset": "fast", "seed": 1}
    answer = admin_client.post(page("evaluate"), asked)
    run = EvaluationRun.objects.get()
    assert answer["Location"] == page("change", run.pk)
    EvaluationRun.objects.update(config=SMALL, rounds=10)
    evaluation_runs.run(evaluation_runs.claim(run.pk))
    run.refresh_from_db()
    assert (run.state, run.error) == (LeaseState.DONE, "")
    text = admin_client.get(page("change", run.pk)).content.decode()
    for words in ("All tests together", "chart-churn-0-roc", "chart-churn-1-lift", "By country"):
        assert words in text
    report = json.loads(admin_client.get(page("report", run.pk)).content)
    assert set(report[0]["origins"]) == {"2023-09-01", "2023-12-01"}
    content = b"".join(admin_client.get(page("predictions", run.pk)).streaming_content)
    assert set(pl.read_parquet(io.BytesIO(content))["test"]) == {"2023-09-01", "2023-12-01"}
    assert json.loads(admin_client.get(page("progress", run.pk)).content)["over"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"targets": []}, "Choose at least one target"),
        ({"origins": "someday"}, "is not a date"),
        ({"folds": 1}, "2 to 20 folds"),
        ({"origins": "0001-01-01"}, "0001-01-01 is no day to learn from or to test on"),
        ({"origins": "9999-12-31"}, "9999-12-31 is no day to learn from or to test on"),
        ({"folds": 5, "origins": "2023-09-01,2023-10-01"}, "one day to test on at most"),
    ],
)
def test_what_cannot_be_evaluated_is_said_on_the_form(admin_client, small_shop, given, sentence):
    asked = {"targets": [churn().pk], "preset": "fast", "seed": 1, **given}
    assert sentence in admin_client.post(page("evaluate"), asked).content.decode()
    assert not EvaluationRun.objects.exists()


def test_one_algorithm_is_judged_itself_over_all_days(admin_client, small_shop):
    asked = {"targets": [churn().pk], "preset": "fast", "seed": 1, "origins": "2023-09-01, 2023-12-01"}
    admin_client.post(page("evaluate"), {**asked, "algorithms": ["decision_tree"]})
    run = EvaluationRun.objects.get()
    EvaluationRun.objects.update(rounds=5, config={**SMALL, **run.config})
    evaluation_runs.run(evaluation_runs.claim(run.pk))
    run.refresh_from_db()
    assert run.error == ""
    pooled = run.report[0]["pooled"]["churn"]
    assert set(pooled["metrics"]) == {"decision_tree", "btyd", "logistic"}
    assert "All tests together" in admin_client.get(page("change", run.pk)).content.decode()


def test_an_algorithm_that_does_not_fit_is_refused(db):
    AttributeDefinition.objects.create(slug="plan", label="Plan", kind="choice", choices=["a", "b"])
    plan = targets.make("plan", kind="category", attribute="plan")
    with pytest.raises(TrainingError, match="btyd reads order history"):
        evaluation_runs.request([plan], algorithms=["btyd"])


def test_without_data_or_labels_it_is_refused(db):
    with pytest.raises(TrainingError, match="needs 200 customers with an order, has 0"):
        evaluation_runs.request([churn()])
    odd = targets.make("odd", kind="risk", options={"method": "anomaly"})
    with pytest.raises(TrainingError, match="no labels to be judged by"):
        evaluation_runs.request([odd])


def test_it_can_be_stopped_and_says_when_its_targets_are_gone(admin_client, small_shop):
    run = evaluation_runs.request([churn()])
    admin_client.post(page("cancel", run.pk))
    run.refresh_from_db()
    assert run.state == LeaseState.CANCELLED
    again = evaluation_runs.request([churn()], config=SMALL, rounds=5, preset="fast")
    claimed = evaluation_runs.claim(again.pk)
    EvaluationRun.objects.filter(pk=again.pk).update(cancel_requested=True)
    evaluation_runs.run(claimed)
    again.refresh_from_db()
    assert again.state == LeaseState.CANCELLED
    gone = evaluation_runs.request([churn()])
    Target.objects.all().delete()
    evaluation_runs.run(evaluation_runs.claim(gone.pk))
    gone.refresh_from_db()
    assert (gone.state, "deleted or switched off" in gone.error) == (LeaseState.FAILED, True)


def test_whose_lease_is_lost_writes_nothing(small_shop):
    run = evaluation_runs.request([churn()], config=SMALL, rounds=5, preset="fast")
    claimed = evaluation_runs.claim(run.pk)
    EvaluationRun.objects.update(fence=99)
    with pytest.raises(leases.LeaseLost):
        evaluation_runs.held(run.pk, claimed.fence)
    with pytest.raises(leases.LeaseLost):
        evaluation_runs.run(claimed)
    assert not EvaluationRun.objects.get().report


def test_only_who_may_evaluate_is_let_in(client, db):
    client.force_login(world.person("Service agent"))
    assert client.get(page("evaluate")).status_code == 403
    client.force_login(world.person("Analyst"))
    assert client.get(page("evaluate")).status_code == 200
    assert jobs.Job.RUN_EVALUATION.value == "train.evaluate"
