"""A training from request to champion, on a small shop."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time

import pytest

from segmentation import artifact_store, leases, registry, serving, training, training_runs
from segmentation.models import Customer, LeaseState, ModelVersion, TrainingRun
from tests.segmentation.learning.conftest import QUICK, train

pytestmark = pytest.mark.django_db


def test_a_run_trains_every_learner_and_promotes_the_first_blend(small_shop, standard):
    run = train(standard)
    assert (run.state, run.error, run.progress) == (LeaseState.DONE, "", 1.0)
    versions = {version.algorithm: version for version in ModelVersion.objects.all()}
    assert set(versions) == {"btyd", "logistic", "lightgbm", "mlp", "blend"}
    blend = versions["blend"]
    assert {member.algorithm for member in blend.members.all()} == {"btyd", "lightgbm", "mlp"}
    assert registry.champions(standard) == dict.fromkeys(("churn", "future_value", "value_tier"), blend)
    assert not any(target.run_targets.filter(is_active=True).exists() for target in standard)


def test_a_version_says_what_it_learned_from_and_how_good_it_is(small_shop, standard):
    train(standard)
    blend = ModelVersion.objects.get(algorithm="blend")
    snapshot = blend.data_snapshot
    assert max(snapshot["cutoffs"]) < snapshot["test_cutoff"], "the test day is later than all that was learned from"
    horizon = dt.timedelta(days=90)
    test_day = dt.date.fromisoformat(snapshot["test_cutoff"])
    assert all(dt.date.fromisoformat(day) + horizon <= test_day for day in snapshot["cutoffs"])
    assert len(snapshot["tier_cuts"]["value_tier"]) == 2
    churn = blend.evaluation["churn"]
    assert churn["primary"] == "auc"
    assert set(churn["differences"]) == {"btyd", "logistic", "lightgbm", "mlp"}
    assert churn["metrics"]["auc"]["low"] < churn["metrics"]["auc"]["value"] < churn["metrics"]["auc"]["high"]
    assert churn["metrics"]["auc"]["value"] > 0.6, "the shop's customers differ, so order history must help"
    assert {"orders", "country"} <= set(churn["subgroups"])
    members = ModelVersion.objects.exclude(algorithm="blend")
    assert all(m.evaluation["churn"]["metrics"] == churn["baselines"][m.algorithm] for m in members)


def test_the_same_inputs_give_the_same_figures(small_shop, standard):
    train(standard)
    train(standard)
    first, second = ModelVersion.objects.filter(algorithm="blend").order_by("number")
    assert first.evaluation["churn"]["metrics"] == second.evaluation["churn"]["metrics"]
    assert first.data_snapshot == second.data_snapshot
    train(standard, seed=2)
    other = ModelVersion.objects.filter(algorithm="blend").order_by("-number").first()
    assert other.evaluation["churn"]["metrics"] != first.evaluation["churn"]["metrics"]


def test_a_second_training_is_compared_with_the_champion_and_stays_challenger_without_a_gain(small_shop, standard):
    train(standard)
    run = train(standard)
    first, second = ModelVersion.objects.filter(algorithm="blend").order_by("number")
    assert registry.champion(standard[0]) == first
    slot = standard[0].slot
    assert slot.challenger == second
    verdict = run.summary["versions"][0]["targets"]["churn"]
    assert verdict["verdict"] == "not_worse"
    assert verdict["reason"] == "No clear gain over version 5: auc +0.000 (+0.000 to +0.000)."


def test_the_stored_model_answers_as_it_did_when_it_was_evaluated(small_shop, standard):
    """The artifact that was evaluated is the one that is served: the champion beside itself differs by nothing."""
    train(standard)
    blend = ModelVersion.objects.get(algorithm="blend")
    serving._predictor.cache_clear()
    run = train(standard)
    again = ModelVersion.objects.filter(training_run=run, algorithm="blend").get()
    for target in standard:
        differences = again.evaluation[target.slug]["differences"]["champion"]
        assert all(abs(figure["value"]) < 1e-5 for figure in differences.values()), target.slug
    assert artifact_store.tree_hash(artifact_store.fetch(blend)) == blend.artifact_sha256


def test_customers_who_refused_are_not_learned_from(small_shop, standard):
    train(standard)
    whole = ModelVersion.objects.filter(algorithm="btyd").get().data_snapshot
    Customer.objects.filter(pk__in=Customer.objects.order_by("pk").values("pk")[:60]).update(is_profiled=False)
    train(standard)
    fewer = ModelVersion.objects.filter(algorithm="btyd").order_by("-number").first().data_snapshot
    assert 0 < fewer["customers"] < whole["customers"]


def test_an_epochs_callback_ends_a_cancelled_run(small_shop, standard, monkeypatch):
    run = training_runs.request(standard, preset="fast", config=QUICK)
    claimed = training_runs.claim(run.pk)
    notes = []

    def watch(fraction, note):
        notes.append(note)
        if "network" in note:
            training_runs.request_cancel(run)

    monkeypatch.setattr("segmentation.training_progress.WRITE_SECONDS", 0)
    training.run(claimed, watch=watch)
    run.refresh_from_db()
    assert run.state == LeaseState.CANCELLED
    assert not ModelVersion.objects.exists()
    assert not run.run_targets.filter(is_active=True).exists()
    assert "network" in notes[-1]


def test_progress_and_epochs_can_be_followed(small_shop, standard):
    run = training_runs.request(standard, preset="fast", config=QUICK)
    seen = []
    training.run(training_runs.claim(run.pk), watch=lambda fraction, note: seen.append((fraction, note)))
    fractions = [fraction for fraction, _note in seen]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1
    run.refresh_from_db()
    assert [e["epoch"] for e in run.epochs if e["estimator"] == "mlp"] == [1, 2]
    assert all(entry["valid_loss"] is None or entry["valid_loss"] > 0 for entry in run.epochs)


def test_a_wrong_setting_fails_the_run_with_a_sentence(small_shop, standard):
    run = training_runs.request(standard, preset="fast", config={"hiden": [4]})
    training.run(training_runs.claim(run.pk))
    run.refresh_from_db()
    assert (run.state, run.error) == (LeaseState.FAILED, "Unknown training settings: hiden. Remove them.")


def test_cutoffs_without_room_for_a_test_are_refused(small_shop, standard):
    run = training_runs.request(
        standard, preset="fast", config=QUICK, cutoffs=[dt.date(2023, 11, 1), dt.date(2023, 12, 1)]
    )
    training.run(training_runs.claim(run.pk))
    run.refresh_from_db()
    assert run.state == LeaseState.FAILED
    assert "has its 90 days of labels complete by 2023-12-01" in run.error


@pytest.mark.django_db(transaction=True)
def test_a_killed_child_is_noticed_retried_and_then_stopped(small_shop, standard, settings, tmp_path):
    """A real spawned trainer, killed: its lease runs out, the next claim gets a new fence, the third ends it."""
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        pytest.skip("the in-memory test database cannot be shared with a child; tests/flows trains one on a file")
    run = training_runs.request(standard, preset="default")
    claimed = training_runs.claim(run.pk)
    child = subprocess.Popen(
        [sys.executable, "manage.py", "train_run", str(run.pk), "--fence", str(claimed.fence)],
        env={**os.environ, "DATABASE_URL": _test_url(settings), "TIERWISE_VAR": str(tmp_path)},
    )
    _wait(lambda: TrainingRun.objects.get(pk=run.pk).progress_note != "")
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert training_runs.claim(run.pk) is None, "the lease still stands"
    _lease_runs_out(run)
    again = training_runs.claim(run.pk)
    assert again.fence == claimed.fence + 1
    with pytest.raises(leases.LeaseLost):
        training_runs.held(run.pk, claimed.fence)
    _lease_runs_out(run)
    assert training_runs.claim(run.pk) is None
    run.refresh_from_db()
    assert run.state == LeaseState.FAILED
    assert "stopped after 2 attempts" in run.error
    assert not run.run_targets.filter(is_active=True).exists()


def _lease_runs_out(run):
    TrainingRun.objects.filter(pk=run.pk).update(lease_until=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))


def _wait(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the child gave no sign"
        time.sleep(0.1)


def _test_url(settings):
    database = settings.DATABASES["default"]
    return f"postgresql://{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
