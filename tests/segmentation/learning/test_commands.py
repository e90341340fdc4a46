"""`train` and `evaluate` as a person uses them."""

from __future__ import annotations

import datetime as dt

import orjson
import polars as pl
import pytest
from django.core.management import CommandError, call_command

from segmentation import backtests, registry, targets, training
from segmentation.ml.config import TrainingConfig
from segmentation.models import LeaseState, ModelVersion, Target, TrainingRun
from tests.support import mini_shop

QUICK = TrainingConfig(preset="fast", network="mlp", hidden=(16,), ensemble=1, epochs=2, boosting_rounds=10)


@pytest.fixture
def quick(monkeypatch):
    """The smallest training in place of the presets."""
    monkeypatch.setattr("segmentation.ml.config.PRESETS", {"fast": QUICK, "default": QUICK})


def test_train_here_prints_figures_beside_baselines_and_what_became_of_them(small_shop, quick, capsys):
    call_command("train", "--inline", "--preset", "fast", "--rounds", "10")
    printed = capsys.readouterr().out
    assert "churn (" in printed
    assert "auc" in printed
    assert "btyd" in printed
    told = [line.strip() for line in printed.splitlines() if line.strip().startswith("Stops buying:")]
    # On so few customers a simpler model may be clearly better; then it serves, and that is what is said.
    assert len(told) == 1
    assert "serves “Stops buying” now" in told[0] or "Worse than version" in told[0]
    assert registry.champion(Target.objects.get(slug="churn")) is not None
    assert TrainingRun.objects.get().state == LeaseState.DONE


def test_train_without_data_says_what_is_missing(db, capsys):
    mini_shop.build(20)
    with pytest.raises(CommandError, match="needs 200 customers with an order, has 20"):
        call_command("train", "--inline")
    with pytest.raises(CommandError, match="no active target called nonsense"):
        call_command("train", "--targets", "nonsense")
    assert not TrainingRun.objects.exists()


def test_evaluate_writes_figures_and_predictions_that_give_them_again(small_shop, quick, tmp_path, capsys):
    report, rows = tmp_path / "report.json", tmp_path / "predictions.parquet"
    call_command(
        "evaluate", "all", "--origins", "2023-09-01,2023-12-01", "--rounds", "10",
        "--out", str(report), "--predictions", str(rows),
    )  # fmt: skip
    assert "Mean of 2 origins" in capsys.readouterr().out
    found = orjson.loads(report.read_bytes())[0]
    assert set(found["origins"]) == {"2023-09-01", "2023-12-01"}
    for day, origin in found["origins"].items():
        horizon_ends = [
            dt.date.fromisoformat(cutoff) + dt.timedelta(days=90) for cutoff in origin["data"]["cutoffs"]
        ]
        assert max(horizon_ends) <= dt.date.fromisoformat(day), "only what was known by then is learned from"
    predictions = pl.read_parquet(rows)
    assert set(predictions["model"]) == {"btyd", "logistic", "lightgbm", "mlp", "blend"}
    assert predictions.filter(pl.col("model") == "blend")["customer"].str.starts_with("M").all()
    last = predictions.filter(model="btyd", cutoff=dt.date(2023, 12, 1))
    expected = found["origins"]["2023-12-01"]["figures"]["churn"]["baselines"]["btyd"]["auc"]["value"]
    assert auc(last["churn.label"].to_list(), last["churn.p_1"].to_list()) == pytest.approx(
        expected, abs=1e-9
    )
    assert not ModelVersion.objects.exists(), "a backtest registers nothing"


def auc(labels, scores):
    """Pair by pair, as a reader of the file would."""
    leavers = [s for label, s in zip(labels, scores, strict=True) if label == 1]
    stayers = [s for label, s in zip(labels, scores, strict=True) if label == 0]
    wins = sum((a > b) + 0.5 * (a == b) for a in leavers for b in stayers)
    return wins / (len(leavers) * len(stayers))


def test_evaluate_refuses_what_it_cannot_do(small_shop, quick, tmp_path):
    with pytest.raises(CommandError, match="does not exist"):
        call_command("evaluate", "all", "--out", str(tmp_path / "missing" / "report.json"))
    with pytest.raises(CommandError, match="A day is written like"):
        call_command("evaluate", "all", "--origins", "yesterday")
    with pytest.raises(CommandError, match="not enough history"):
        call_command("evaluate", "churn", "--origins", "2022-12-15")


def test_an_event_after_the_origin_moves_no_prediction(small_shop, quick):
    """Point in time: what happens on the test day or later may change labels, never what is predicted."""
    family = targets.install()
    first = backtests.run(family, origins=[dt.date(2023, 12, 1)], config=QUICK, rounds=2, max_rows=10_000)
    person = first.predictions["customer_id"][0]
    from segmentation.models import Customer

    at = dt.datetime(2023, 12, 1, tzinfo=dt.UTC)
    mini_shop.order(Customer.objects.get(pk=person), at=at, amount_minor=10**8)
    second = backtests.run(family, origins=[dt.date(2023, 12, 1)], config=QUICK, rounds=2, max_rows=10_000)
    labels = [name for name in first.predictions.columns if name.endswith(".label")]
    assert first.predictions.drop(labels).equals(second.predictions.drop(labels))
    assert not first.predictions.equals(second.predictions)


def test_targets_that_share_rows_are_learned_together(db):
    wanted = targets.install()
    soon = targets.make("churn_30", kind="churn", horizon_days=30)
    assert training.families([*wanted, soon]) == [wanted, [soon]]
