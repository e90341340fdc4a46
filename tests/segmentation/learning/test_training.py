"""A training from request to champion, on a small shop."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from segmentation import learners, learning_data, leases, registry, serving, training, training_runs
from segmentation.ml import schema
from segmentation.ml.schema import Frame
from segmentation.models import Customer, LeaseState, ModelSlot, ModelVersion, TrainingRun
from tests.flows import conftest as processes
from tests.segmentation.learning.conftest import QUICK, train
from tests.support import mini_shop

pytestmark = pytest.mark.django_db


def test_a_run_trains_every_learner_and_says_what_it_learned_from_and_how_good_it_is(small_shop, standard):
    run = train(standard)
    assert (run.state, run.error, run.progress) == (LeaseState.DONE, "", 1.0)
    versions = {version.algorithm: version for version in ModelVersion.objects.all()}
    assert set(versions) == {"btyd", "logistic", "lightgbm", "mlp", "blend"}
    blend = versions.pop("blend")
    assert {member.algorithm for member in blend.members.all()} == {"btyd", "lightgbm", "mlp"}
    assert {version.config["learner"] for version in versions.values()} == set(
        blend.evaluation["churn"]["baselines"]
    )
    serving_now = registry.champions(standard)
    for slug, told in run.summary["versions"][0]["targets"].items():
        assert (serving_now[slug] == blend) == (told["verdict"] == "first")
        assert serving_now[slug] in [blend, *versions.values()]
    assert not any(target.run_targets.filter(is_active=True).exists() for target in standard)
    assert_learned_before_tested(blend.data_snapshot)
    churn = blend.evaluation["churn"]
    assert churn["primary"] == "auc"
    assert set(churn["differences"]) == set(versions)
    assert churn["metrics"]["auc"]["low"] < churn["metrics"]["auc"]["value"] < churn["metrics"]["auc"]["high"]
    assert churn["metrics"]["auc"]["value"] > 0.6, "the shop's customers differ, so order history must help"
    assert {"orders", "country"} <= set(churn["subgroups"])
    for name, version in versions.items():
        assert version.evaluation["churn"]["metrics"] == churn["baselines"][name]


def assert_learned_before_tested(snapshot):
    """No label window of a training day reaches past the day of the test."""
    test_day = dt.date.fromisoformat(snapshot["test_cutoff"])
    days = [dt.date.fromisoformat(day) for day in snapshot["cutoffs"]]
    assert len(days) == 3
    assert all(day + dt.timedelta(days=90) <= test_day for day in days)
    assert len(snapshot["tier_cuts"]["value_tier"]) == 2


def test_training_again_repeats_every_figure_and_leaves_the_champion_where_it_is(small_shop, standard):
    """The evaluated artifact is the served one: read back from the database, it differs from its twin by nothing."""
    train(standard)
    first = ModelVersion.objects.get(algorithm="blend")
    ModelSlot.objects.update(champion=first)
    serving._predictor.cache_clear()
    run = train(standard)
    first, second = ModelVersion.objects.filter(algorithm="blend").order_by("number")
    for target in standard:
        old, new = first.evaluation[target.slug], second.evaluation[target.slug]
        assert old["metrics"] == new["metrics"]
        assert {figure["value"] for figure in new["differences"]["champion"].values()} == {0.0}
        slot = ModelSlot.objects.get(target=target)
        assert (slot.champion, slot.challenger) == (first, second)
    assert first.data_snapshot == second.data_snapshot
    diff = registry.promotion_diff(next(t for t in standard if t.slug == "value_tier"), second)
    assert (diff["rows"], diff["changed"]) == (second.evaluation["value_tier"]["rows"], 0)
    assert sum(diff["moves"][tier][tier] for tier in diff["moves"]) == diff["rows"]
    told = run.summary["versions"][0]["targets"]
    assert told["churn"]["reason"] == "No clear gain over version 5: auc +0.000 (+0.000 to +0.000)."


def test_customers_who_refused_are_not_learned_from(small_shop, standard):
    def learned_from():
        cutoffs = [dt.date(2023, 6, 1), dt.date(2023, 9, 1)]
        return set(learning_data.behaviour(standard, cutoffs=cutoffs, shop=small_shop).train.ids.tolist())

    before = learned_from()
    refused = sorted(before)[:20]
    Customer.objects.filter(pk__in=refused).update(is_profiled=False)
    assert learned_from() == before - set(refused)


def test_tiers_are_cut_on_training_rows_alone(small_shop, standard):
    """A windfall in the test window must not move the borders that its own customers are judged by."""
    cutoffs = [dt.date(2023, 6, 1), dt.date(2023, 9, 1)]
    before = learning_data.behaviour(standard, cutoffs=cutoffs, shop=small_shop)
    late = dt.datetime(2023, 9, 5, tzinfo=dt.UTC)
    mini_shop.order(Customer.objects.get(pk=int(before.test.ids[0])), at=late, amount_minor=10**9)
    after = learning_data.behaviour(standard, cutoffs=cutoffs, shop=small_shop)
    assert after.tier_cuts == before.tier_cuts
    assert after.snapshot["sha256"] == before.snapshot["sha256"]
    assert after.snapshot["test_sha256"] != before.snapshot["test_sha256"]


def test_borders_of_tiers_stay_while_they_fit_and_are_cut_anew_when_they_do_not(small_shop, standard):
    def cut(**in_use):
        cutoffs = [dt.date(2023, 6, 1), dt.date(2023, 9, 1)]
        return learning_data.behaviour(
            standard, cutoffs=cutoffs, shop=small_shop, tier_cuts=in_use
        ).tier_cuts["value_tier"]

    thirds = cut()
    moved = tuple(border * 1.05 for border in thirds)
    assert cut(value_tier=moved) == moved
    assert cut(value_tier=(0.01, 0.02)) == thirds


def test_calibrators_are_fitted_where_labels_were_complete_on_the_day_they_are_checked():
    """Label windows of half a year on days a quarter apart: the quarter before the last is left out."""
    days = [np.datetime64(day) for day in ("2023-01-01", "2023-04-01", "2023-06-30", "2023-09-28")]
    held = Frame(
        ids=np.arange(4),
        cutoffs=np.array(days),
        x=pl.DataFrame({"n": [1, 2, 3, 4]}),
        labels={"churn": np.ones(4)},
    )
    seen = []

    class Model:
        def calibrate(self, earlier, latest):
            seen.append((earlier.ids.tolist(), latest.ids.tolist()))
            return ()

    for horizon in (90, 180, 270, 300):
        target = replace(schema.CHURN, horizon_days=horizon)
        learners._calibrate({"model": Model()}, held, [target])
    assert seen == [([0, 1, 2], [3]), ([0, 1], [3]), ([0], [3])]


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


def test_a_wrong_setting_is_refused_with_a_sentence(small_shop, standard):
    for config, said in (
        ({"hiden": [4]}, "Unknown training settings: hiden. Remove them."),
        (
            {"scaling": "log"},
            "scaling can be quantile_normal, standard, min_max; it is “log”. Choose one of these.",
        ),
    ):
        with pytest.raises(training_runs.TrainingError) as refused:
            training_runs.request(standard, preset="fast", config=config)
        assert str(refused.value) == said
    assert not TrainingRun.objects.exists()


def test_cutoffs_without_room_for_a_test_are_refused(small_shop, standard):
    run = training_runs.request(
        standard, preset="fast", config=QUICK, cutoffs=[dt.date(2023, 11, 1), dt.date(2023, 12, 1)]
    )
    training.run(training_runs.claim(run.pk))
    run.refresh_from_db()
    assert run.state == LeaseState.FAILED
    assert "has its 90 days of labels complete by 2023-12-01" in run.error


@pytest.mark.django_db(transaction=True)
def test_a_killed_child_is_noticed_retried_and_then_stopped(small_shop, standard, settings):
    """A real spawned trainer, killed: its lease runs out, the next claim gets a new fence, the third ends it."""
    run = training_runs.request(standard, preset="default")
    claimed = training_runs.claim(run.pk)
    child = subprocess.Popen(
        [sys.executable, "manage.py", "train_run", str(run.pk), "--fence", str(claimed.fence)],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": processes.database_url(), "TIERWISE_VAR": str(settings.VAR_DIR)},
    )
    try:
        processes.wait_until(lambda: TrainingRun.objects.get(pk=run.pk).progress_note != "", seconds=120)
    finally:
        child.kill()
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
    assert "after 2 attempts" in run.error
    assert not run.run_targets.filter(is_active=True).exists()


def _lease_runs_out(run):
    TrainingRun.objects.filter(pk=run.pk).update(lease_until=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
