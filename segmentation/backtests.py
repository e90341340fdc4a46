"""Rolling origins: train on the days before an origin, test on what came after it, once for every origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl
from django.utils.translation import gettext as _

from segmentation import learners, learning_data, targets, training, training_frames
from segmentation.ml.config import TrainingConfig
from segmentation.ml.evaluation import prediction_rows
from segmentation.ml.schema import Target as Learned
from segmentation.models import Customer, Shop, Target
from segmentation.training_runs import TrainingError

Watcher = Callable[[float, str], None]


@dataclass(frozen=True)
class Backtest:
    """report: JSON with every figure by origin. predictions: a row a (model, customer, cutoff), enough to recompute."""

    report: dict[str, Any]
    predictions: pl.DataFrame


def run(
    family: Sequence[Target],
    *,
    origins: Sequence[date],
    cutoffs: Sequence[date] = (),
    config: TrainingConfig,
    rounds: int,
    max_rows: int,
    watch: Watcher | None = None,
) -> Backtest:
    """Evaluate targets of one family. cutoffs: days to learn from; default: every 90 days back from the origin.

    Each origin learns from the cutoffs whose labels are complete by then. Raises TrainingError.
    """
    shop = Shop.get()
    tested = {}
    tables = []
    for number, day in enumerate(sorted(origins)):
        report = _share(watch, number / len(origins), 1 / len(origins), day)
        found, judged = _one_origin(family, day, cutoffs, config, shop, rounds, max_rows, report)
        tested[day.isoformat()] = found
        tables += [
            prediction_rows(prediction, judged.frame, _schemas(family)).with_columns(model=pl.lit(name))
            for name, prediction in judged.predictions.items()
        ]
    whole = pl.concat(tables, how="diagonal")
    report_ = {"config": config.to_json(), "origins": tested, "mean": mean_of_origins(tested)}
    return Backtest(report_, _with_references(whole))


def latest_origin(family: Sequence[Target]) -> date:
    """The last day with a whole horizon of history after it; for a category the end of today."""
    shop = Shop.get()
    if family[0].kind == Target.Kind.CATEGORY:
        return shop.scoring_as_of()
    days = training_frames.default_cutoffs(
        as_of=shop.scoring_as_of(), shop=shop, horizon_days=family[0].horizon_days
    )
    if not days:
        raise TrainingError(_("There are no orders to learn from."))
    return days[-1]


def mean_of_origins(tested: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """slug → model → metric → mean over origins (the plain figures, without intervals)."""
    means: dict[str, dict[str, dict[str, float]]] = {}
    for found in tested.values():
        for slug, figures in found["figures"].items():
            for name, metrics in {learners.BLEND: figures["metrics"], **figures["baselines"]}.items():
                row = means.setdefault(slug, {}).setdefault(name, {})
                for metric, figure in metrics.items():
                    row[metric] = row.get(metric, 0.0) + figure["value"] / len(tested)
    return means


def _one_origin(
    family: Sequence[Target],
    day: date,
    cutoffs: Sequence[date],
    config: TrainingConfig,
    shop: Shop,
    rounds: int,
    max_rows: int,
    progress: learners.Progress | None,
) -> tuple[dict[str, Any], learners.Judged]:
    if family[0].kind == Target.Kind.CATEGORY:
        material = learning_data.category(family[0], as_of=day, shop=shop, max_rows=max_rows)
        recipe = learners.category(material.targets[0], config)
    else:
        days = _days(family[0], day, cutoffs, shop)
        material = learning_data.behaviour(family, cutoffs=days, shop=shop, max_rows=max_rows)
        recipe = learners.behaviour(material.targets, config)
    trained = learners.train(material.train, recipe, progress=progress)
    judged = learners.judge(trained, material.test, recipe, rounds=rounds, seed=config.seed)
    found = {
        "data": dict(material.snapshot),
        "figures": training.figures(judged.evaluations[learners.BLEND]),
        "calibration": {
            name: [v.to_json() for v in verdicts] for name, verdicts in trained.calibration.items()
        },
    }
    return found, judged


def _days(target: Target, day: date, cutoffs: Sequence[date], shop: Shop) -> list[date]:
    """Cutoffs to learn from, and the origin as the last."""
    if cutoffs:
        return [*(cutoff for cutoff in sorted(set(cutoffs)) if cutoff < day), day]
    end = day + timedelta(days=target.horizon_days)
    return list(training_frames.default_cutoffs(as_of=end, shop=shop, horizon_days=target.horizon_days))


def _schemas(family: Sequence[Target]) -> list[Learned]:
    return [targets.to_schema(target) for target in family]


def _with_references(predictions: pl.DataFrame) -> pl.DataFrame:
    """The shop's own customer ids beside ours, first."""
    ids = predictions["customer_id"].unique().to_list()
    known = Customer.objects.in_bulk(ids)
    references = pl.DataFrame(
        {"customer_id": ids, "customer": [known[key].reference for key in ids]},
        schema={"customer_id": pl.Int64, "customer": pl.String},
    )
    joined = predictions.join(references, on="customer_id", how="left", maintain_order="left")
    first = ["model", "cutoff", "customer", "customer_id"]
    return joined.select(*first, pl.exclude(first))


def _share(watch: Watcher | None, start: float, share: float, day: date) -> learners.Progress | None:
    if watch is None:
        return None
    return lambda fraction, note, epoch: watch(start + share * fraction, f"{day}: {note}")
