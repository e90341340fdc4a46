"""Training and classification from the console: asked for once, refused in words, watched live, stopped."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from segmentation import scoring_runs, training_runs
from segmentation.dashboard import losses
from segmentation.jobs import Job
from segmentation.models import ScoringRun, ScoringShard, Target, TrainingRun
from tests.segmentation.admin import world
from tests.segmentation.admin.world import AT, page


def html(answer):
    return answer.content.decode()


def asked(**fields):
    slugs = Target.objects.filter(slug__in=("churn", "future_value"))
    return {"targets": [target.pk for target in slugs], "preset": "fast", "seed": 7, "cutoffs": "", **fields}


@pytest.fixture
def request_run(monkeypatch):
    call = Mock(side_effect=lambda *args, **kwargs: TrainingRun.objects.create())
    monkeypatch.setattr(training_runs, "request", call)
    return call


# --- training
def test_train_asks_the_service_once_and_leads_to_the_run(admin_client, admin_user, request_run):
    answer = admin_client.post(page("trainingrun_train"), asked(cutoffs="2024-01-01; 2024-04-01"))
    assert answer["Location"] == page("trainingrun_change", TrainingRun.objects.get().pk)
    request_run.assert_called_once()
    chosen = request_run.call_args
    assert {target.slug for target in chosen.args[0]} == {"churn", "future_value"}
    assert (chosen.kwargs["preset"], chosen.kwargs["seed"], chosen.kwargs["requested_by"]) == (
        "fast",
        7,
        admin_user,
    )
    assert [day.isoformat() for day in chosen.kwargs["cutoffs"]] == ["2024-01-01", "2024-04-01"]


def test_too_little_data_is_refused_with_the_missing_numbers(admin_client):
    answer = admin_client.post(page("trainingrun_train"), asked())
    assert "Not enough data to train" in html(answer)
    assert "200" in html(answer)
    assert not TrainingRun.objects.exists()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"targets": []}, "Choose at least one target"),
        ({"cutoffs": "last summer"}, "is not a date"),
        ({"preset": "huge"}, "huge"),
        ({"seed": "-1"}, "greater than or equal to 0"),
    ],
)
def test_a_form_that_is_wrong_says_what_and_asks_for_nothing(admin_client, request_run, fields, sentence):
    assert sentence in html(admin_client.post(page("trainingrun_train"), asked(**fields)))
    request_run.assert_not_called()


def test_the_open_page_is_told_progress_and_losses(admin_client):
    epochs = [{"estimator": "mlp", "epoch": n, "train_loss": 2.0 / n, "valid_loss": 2.1 / n} for n in (1, 2)]
    run = TrainingRun.objects.create(
        state="running", progress=0.4, progress_note="Learning", epochs=epochs, started_at=AT
    )
    live = admin_client.get(page("trainingrun_progress", run.pk)).json()
    assert (live["progress"], live["note"], live["over"]) == (0.4, "Learning", False)
    assert live["losses"][0]["lines"][1]["points"] == [{"x": 1, "y": 2.1}, {"x": 2, "y": 1.05}]


def test_a_failed_run_shows_its_reason(admin_client):
    run = TrainingRun.objects.create(state="failed", error="Not <enough> memory")
    assert "Not &lt;enough&gt; memory" in html(admin_client.get(page("trainingrun_change", run.pk)))


def test_cancel_stops_a_waiting_run(admin_client):
    run = TrainingRun.objects.create()
    admin_client.post(page("trainingrun_cancel", run.pk))
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_losses_of_several_parts_start_together_and_skip_what_is_missing():
    def epoch(number, loss):
        return {"estimator": "lightgbm", "epoch": number, "valid_loss": loss, "train_loss": float("nan")}

    charts = losses.charts([epoch(1, 4.0), epoch(21, 2.0), epoch(401, 30.0), epoch(421, None)])
    assert len(charts) == 1
    first, second = charts[0]["lines"]
    assert first["points"] == [{"x": 0, "y": 1.0}, {"x": 20, "y": 0.5}]
    assert second["points"] == [{"x": 0, "y": 1.0}]


# --- classification
def test_classify_now_starts_one_run_and_a_second_click_leads_to_the_same(admin_client, nudges):
    world.customers(2)
    first = admin_client.post(page("scoringrun_start"))
    second = admin_client.post(page("scoringrun_start"))
    run = ScoringRun.objects.get()
    assert first["Location"] == second["Location"] == page("scoringrun_change", run.pk)
    assert run.shards.count() == 1


def test_classify_now_nudges_the_workers(admin_client, nudges, django_capture_on_commit_callbacks):
    world.customers(2)
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(page("scoringrun_start"))
    assert [job for job, _ids in nudges] == [Job.RUN_SHARD]


def test_a_refused_classification_says_why(admin_client, monkeypatch):
    monkeypatch.setattr(scoring_runs, "start", Mock(side_effect=scoring_runs.ScoringError("Not today.")))
    answer = admin_client.post(page("scoringrun_start"), follow=True)
    assert "Not today." in html(answer)


def test_the_open_page_is_told_how_many_customers_are_done(admin_client):
    run = ScoringRun.objects.create(as_of=world.AS_OF, customers=10)
    ScoringShard.objects.create(run=run, number=1, first_id=1, last_id=5, scored=5, state="done")
    ScoringShard.objects.create(
        run=run, number=2, first_id=6, last_id=9, scored=1, state="running", error="once"
    )
    live = admin_client.get(page("scoringrun_progress", run.pk)).json()
    assert live["progress"] == 0.6
    assert "6 of 10 customers, 1 of 2 parts" in live["note"]
    assert live["error"] == "once"


def test_a_finished_run_shows_what_it_brought(admin_client):
    whom = world.segment("French")
    summary = {
        "tiers": {"high": 3, "none": 1},
        "segments": {whom.slug: 3},
        "offers": {},
        "priorities": {"2": 4},
    }
    run = ScoringRun.objects.create(as_of=world.AS_OF, state="done", customers=4, summary=summary)
    text = html(admin_client.get(page("scoringrun_change", run.pk)))
    assert "Customers by value tier" in text
    assert "French" in text
    assert "Customers by offer" not in text


def test_cancel_stops_a_classification(admin_client):
    run = ScoringRun.objects.create(as_of=world.AS_OF)
    admin_client.post(page("scoringrun_cancel", run.pk))
    run.refresh_from_db()
    assert run.state == "cancelled"
