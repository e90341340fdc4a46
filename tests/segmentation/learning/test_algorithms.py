"""Algorithms by name from the request to the scores, and what a killed training leaves for the next attempt."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from segmentation import backtests, comparisons, learners, scoring, serving, training, training_runs
from segmentation.features import store
from segmentation.ml import search
from segmentation.models import (
    Customer,
    LeaseState,
    ModelSlot,
    ModelVersion,
    SearchTrial,
    TrainingCheckpoint,
    TrainingRun,
)
from tests.segmentation.learning.conftest import QUICK
from tests.support import mini_shop

pytestmark = pytest.mark.django_db
SMALL = {**QUICK, "sequence_events": 6, "encoder_width": 16, "forest_trees": 10, "kernel_rows": 300}


def request(wanted, algorithms, **config):
    return training_runs.request(wanted, preset="fast", algorithms=algorithms, config={**SMALL, **config})


def run(wanted, algorithms, **config):
    made = request(wanted, algorithms, **config)
    training.run(training_runs.claim(made.pk))
    made.refresh_from_db()
    assert made.error == ""
    return made


def test_one_algorithm_is_the_candidate_and_serves_events_online_as_in_batch(small_shop, standard):
    made = run(standard, ["customer_net"])
    versions = {version.algorithm: version for version in made.versions.all()}
    assert set(versions) == {"btyd", "logistic", "customer_net"}
    net = versions["customer_net"]
    assert made.summary["versions"][0]["version"] == net.number
    assert net.config["reads_events"] == 6
    assert set(net.evaluation["churn"]["differences"]) == {"btyd", "logistic"}
    ModelSlot.objects.update(champion=net)
    pinned = scoring.pin()
    ids = sorted(store.input_versions(list(Customer.objects.values_list("pk", flat=True))))
    batch = scoring.compute(ids, pinned)
    scored = [i for i in range(len(ids)) if batch.answers[0].abstained[i] == ""]
    assert len(scored) > 50
    for place in scored[:3]:
        alone = scoring.compute([ids[place]], pinned)
        for whole, one in zip(batch.answers, alone.answers, strict=True):
            assert one.value[0] == whole.value[place]
    # What a customer did moves the answer, and what they do tomorrow does not.
    before = batch.answers[0].value[scored[0]]
    customer = Customer.objects.get(pk=ids[scored[0]])
    later = dt.datetime.combine(pinned.as_of, dt.time(12), tzinfo=dt.UTC)
    mini_shop.order(customer, at=later, key="later")
    assert scoring.compute([customer.pk], pinned).answers[0].value[0] == before
    mini_shop.order(customer, at=later - dt.timedelta(days=2), key="sooner")
    assert scoring.compute([customer.pk], pinned).answers[0].value[0] != before


def test_several_are_blended_and_all_stand_beside_each_other(small_shop, standard):
    made = run(standard, ["rfm", "rbf_svm", "random_forest"], combine="stacking")
    versions = {version.algorithm: version for version in made.versions.all()}
    assert set(versions) == {"rfm", "btyd", "logistic", "rbf_svm", "random_forest", "stacking"}
    assert {m.algorithm for m in versions["stacking"].members.all()} == {"rfm", "rbf_svm", "random_forest"}
    for target in standard:
        found = comparisons.compare(made, target)
        assert len(found.rows) == 6
        ranked = [row.figures[found.sorted_by] for row in found.rows]
        assert ranked == sorted(ranked, reverse=True)
        assert {row.figures["fit_seconds"] is not None for row in found.rows} == {True}
        main = {"churn": "auc", "value_tier": "qwk", "future_value": "gini"}[target.slug]
        for row in found.rows:
            stored = row.version.evaluation[target.slug]["metrics"][main]["value"]
            assert row.figures[main] == pytest.approx(stored, abs=2e-6)
            assert len(row.curve) > 5
        by_time = comparisons.compare(made, target, by="fit_seconds").rows
        assert [r.figures["fit_seconds"] for r in by_time] == sorted(
            r.figures["fit_seconds"] for r in by_time
        )
    assert any("w-f1" in line for line in comparisons.lines(made, standard[0]))


def test_a_champion_that_reads_events_is_compared_by_a_training_that_reads_none(small_shop, standard):
    run(standard, ["gru"])
    ModelSlot.objects.update(champion=ModelVersion.objects.get(algorithm="gru"))
    second = run(standard, ["decision_tree"])
    tree = second.versions.get(algorithm="decision_tree")
    assert "champion" in tree.evaluation["churn"]["differences"]
    assert "champion_unknown" not in tree.evaluation["churn"]
    tested = backtests.run(
        standard,
        origins=[backtests.latest_origin(standard)],
        config=training.settings_of(second).config,
        rounds=5,
        max_rows=5000,
        algorithms=["decision_tree"],
    )
    (found,) = tested.report["origins"].values()
    assert found["candidate"] == tested.report["candidate"] == "decision_tree"
    assert set(found["figures"]["churn"]["differences"]) == {"btyd", "logistic", "champion"}


def test_resampling_is_done_to_training_rows_alone_and_the_version_says_so(small_shop, standard):
    plain = run(standard, ["decision_tree"])
    made = run(standard, ["decision_tree"], imbalance="smote")
    old, new = (r.versions.get(algorithm="decision_tree") for r in (plain, made))
    assert new.evaluation["churn"]["rows"] == old.evaluation["churn"]["rows"]
    assert new.data_snapshot == old.data_snapshot
    assert new.artifact_sha256 != old.artifact_sha256
    assert "not three in ten" in comparisons.warning(new)
    assert comparisons.warning(old) == ""


class Killed(BaseException):
    """What no handler of a training catches."""


def test_a_killed_training_goes_on_where_it_was(small_shop, standard, monkeypatch):
    monkeypatch.setattr("segmentation.checkpoints.WORTH_SECONDS", 0.0)
    monkeypatch.setattr("segmentation.checkpoints.EVERY_SECONDS", 0.0)
    settings = {"epochs": 4, "patience": 9}
    whole = run(standard, ["rfm", "mlp"], **settings)
    made = request(standard, ["rfm", "mlp"], **settings)

    def kill(fraction, note):
        if "mlp: step 2" in note or "epoch 2" in note:
            raise Killed

    with pytest.raises(Killed):
        training.run(training_runs.claim(made.pk), watch=kill)
    kept = {row.key.split("/")[1] for row in made.checkpoints.all()}
    assert kept == {"rfm.done", "btyd.done", "logistic.done", "mlp.epoch"}
    TrainingRun.objects.filter(pk=made.pk).update(lease_until=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    fitted = []
    fit = learners.side_by_side._Desk.here

    def watch(desk, epoch):
        fitted.append((epoch.estimator, epoch.epoch))
        fit(desk, epoch)

    monkeypatch.setattr("segmentation.side_by_side._Desk.here", watch)
    training.run(training_runs.claim(made.pk))
    made.refresh_from_db()
    assert (made.state, made.error, made.attempts) == (LeaseState.DONE, "", 2)
    assert fitted == [("mlp", 3), ("mlp", 4)]
    assert not TrainingCheckpoint.objects.exists()
    for algorithm in ("rfm", "mlp", "blend"):
        one, other = (r.versions.get(algorithm=algorithm) for r in (whole, made))
        assert one.artifact_sha256 == other.artifact_sha256


def test_a_state_of_other_settings_or_of_a_lost_lease_is_left_alone(small_shop, standard, monkeypatch):
    from segmentation import checkpoints, leases
    from segmentation.ml import artifacts
    from segmentation.ml.config import preset
    from segmentation.ml.schema import CHURN

    made = request(standard, ["mlp"])
    claimed = training_runs.claim(made.pk)
    kept = checkpoints.of(claimed, "a" * 64)
    estimator = artifacts.create("mlp", targets=[CHURN], columns=[], config=preset("fast"))
    kept.epochs("mlp", estimator).write(b"state")
    assert kept.epochs("mlp", estimator).read() == b"state"
    other = artifacts.create("mlp", targets=[CHURN], columns=[], config=preset("fast", seed=2))
    assert kept.epochs("mlp", other).read() is None
    assert checkpoints.of(claimed, "b" * 64).epochs("mlp", estimator).read() is None
    TrainingRun.objects.filter(pk=made.pk).update(fence=claimed.fence + 1)
    with pytest.raises(leases.LeaseLost):
        kept.epochs("mlp", estimator).write(b"too late")


def test_a_search_tries_settings_on_earlier_days_keeps_them_and_goes_on(small_shop, standard, monkeypatch):
    churn = [target for target in standard if target.slug == "churn"]
    made = run(churn, ["mlp"], search=3)
    trials = list(SearchTrial.objects.filter(run=made).order_by("number"))
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[0].settings == {}
    assert all(set(trial.settings) == set(search.SPACES["mlp"]) for trial in trials[1:])
    best = min(trials, key=lambda trial: trial.loss)
    trained = made.versions.get(algorithm="mlp").config
    for name, value in best.settings.items():
        assert trained[name] == value
    # A second attempt makes only what is missing, and proposes the same.
    SearchTrial.objects.filter(run=made, number=3).delete()
    TrainingRun.objects.filter(pk=made.pk).update(state=LeaseState.QUEUED, attempts=0)
    made.run_targets.update(is_active=True)
    training.run(training_runs.claim(made.pk))
    again = SearchTrial.objects.filter(run=made).order_by("number")
    assert [trial.pk for trial in again[:3]] == [trial.pk for trial in trials[:3]]
    assert (again[3].settings, again[3].loss) == (trials[3].settings, trials[3].loss)


def test_what_does_not_exist_or_fit_is_refused_before_anything_is_queued(small_shop, standard):
    for options, said in (
        ({"algorithm": "xgboost"}, "There is no algorithm called xgboost"),
        ({"set": ["optimiser=adam"]}, "optimiser can be adamw, sgd, rmsprop"),
        ({"set": ["colour=red"]}, "There is no setting called colour"),
    ):
        with pytest.raises(CommandError, match=said):
            call_command("train", **options)
    assert not TrainingRun.objects.exists()


def test_the_command_trains_what_it_is_told_and_shows_it_side_by_side(small_shop, capsys):
    call_command(
        "train",
        "--targets", "churn", "--algorithm", "rfm,logistic", "--preset", "fast", "--inline", "--compare",
        "--rounds", "5", "--set", "scaling=standard",
    )  # fmt: skip
    told = capsys.readouterr().out
    assert "Stops buying" in told
    assert "calibration_error" in told
    assert [
        line.split()[0] for line in told.splitlines() if line.strip().startswith(("rfm", "logistic ", "btyd"))
    ]
    assert {v.config["scaling"] for v in ModelVersion.objects.all()} == {"standard"}


def test_the_answers_of_a_served_version_need_its_events(small_shop, standard):
    run(standard, ["conv"])
    version = ModelVersion.objects.get(algorithm="conv")
    assert serving.predictor(version).events_read == 6
    assert np.isfinite(version.evaluation["future_value"]["metrics"]["gini"]["value"])
