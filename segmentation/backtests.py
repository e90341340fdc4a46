"""Rolling origins and folds: train on the rest, test on what was kept away, and what all tests say together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.utils.translation import gettext as _

from segmentation import (
    learners,
    learning_data,
    promises,
    rivals,
    targets,
    training,
    training_frames,
    training_runs,
)
from segmentation.learning_data import Material
from segmentation.ml import families, pooling, splits
from segmentation.ml.config import TrainingConfig
from segmentation.ml.evaluation import prediction_rows
from segmentation.ml.schema import Target as Learned
from segmentation.models import Customer, Shop, Target
from segmentation.training_runs import TrainingError

Watcher = Callable[[float, str], None]


@dataclass(frozen=True)
class Backtest:
    """report: JSON with every figure by test. predictions: a row a (model, test, customer), enough to recompute."""

    report: dict[str, Any]
    predictions: pl.DataFrame


@dataclass(frozen=True)
class Test:
    """One test of a backtest. name: the day, or "fold 2"."""

    name: str
    day: date
    material: Material


@dataclass(frozen=True)
class Settings:
    """cutoffs: days to learn from; none: every 90 days back from an origin. folds: 0 for a test of later days alone.
    algorithms: by name (ml/families.py), empty for the usual ones. champions_read: how many of a customer's newest events
    the champions answer from, which are judged beside what is trained here."""

    config: TrainingConfig
    rounds: int
    max_rows: int
    cutoffs: Sequence[date] = ()
    folds: int = 0
    algorithms: Sequence[str] = ()
    champions_read: int = 0

    @property
    def reading(self) -> dict[str, Any]:
        """How many rows to read, and how many of each customer's newest events."""
        wanted = families.needs_events(self.algorithms, self.config)
        own = self.config.sequence_events if wanted else 0
        return {"max_rows": self.max_rows, "sequence_events": max(own, self.champions_read)}


def run(
    family: Sequence[Target],
    *,
    origins: Sequence[date],
    cutoffs: Sequence[date] = (),
    config: TrainingConfig,
    rounds: int,
    max_rows: int,
    folds: int = 0,
    watch: Watcher | None = None,
    algorithms: Sequence[str] = (),
) -> Backtest:
    """Evaluate targets of one family. Raises TrainingError or LearningError.

    algorithms: by name (ml/families.py), empty for the usual ones.
    Each origin learns from the cutoffs whose labels are complete by then. folds: of the customers, divided by the
    config's seed; labelled customers by label, as they are now; behaviour at the last origin, whose test customers
    are in no row that is learned from.
    """
    require_evaluable(family)
    shop = Shop.get()
    training_runs.require_days([*origins, *cutoffs], as_of=shop.scoring_as_of())
    reads = rivals.events_read(family)
    settings = Settings(config, rounds, max_rows, cutoffs, folds, algorithms, reads)
    count = folds or len(origins)
    tested: dict[str, Any] = {}
    tables, parts = [], []
    found: dict[str, Any] = {"candidate": learners.BLEND}
    for number, test in enumerate(_tests(family, sorted(origins), settings, shop)):
        report = _share(watch, number / count, 1 / count, test.name)
        found, judged = _judge(family, test, settings, shop, report)
        tested[test.name] = found
        parts.append(pooling.Part(judged.predictions, judged.frame))
        tables += [
            prediction_rows(prediction, judged.frame, _schemas(family)).with_columns(
                model=pl.lit(name), test=pl.lit(test.name)
            )
            for name, prediction in judged.predictions.items()
        ]
    report_ = {
        "config": config.to_json(),
        "origins": tested,
        "folds": folds,
        "candidate": found["candidate"],
        "mean": mean_of_origins(tested),
        "pooled": _pooled(parts, family, settings, candidate=found["candidate"]),
    }
    return Backtest(report_, _with_references(pl.concat(tables, how="diagonal")))


def require_evaluable(family: Sequence[Target]) -> None:
    """Raises TrainingError for a target that has no labels to be right or wrong about."""
    for target in family:
        if not targets.is_evaluated(target):
            raise TrainingError(
                _(
                    "“%(target)s” has no labels to be judged by. Train it: its version's page shows what was found "
                    "and how stable that is."
                )
                % {"target": target.name}
            )


def latest_origin(family: Sequence[Target]) -> date:
    """The last day with a whole horizon of history after it; for a category the end of today."""
    shop = Shop.get()
    if not targets.is_behaviour(family[0]):
        return shop.scoring_as_of()
    days = training_frames.default_cutoffs(
        as_of=shop.scoring_as_of(), shop=shop, horizon_days=family[0].horizon_days
    )
    if not days:
        raise TrainingError(_("There are no orders to learn from."))
    return days[-1]


def mean_of_origins(tested: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """slug → model → metric → mean over the tests (the plain figures, without intervals)."""
    means: dict[str, dict[str, dict[str, float]]] = {}
    for found in tested.values():
        for slug, figures in found["figures"].items():
            for name, metrics in {found["candidate"]: figures["metrics"], **figures["baselines"]}.items():
                row = means.setdefault(slug, {}).setdefault(name, {})
                for metric, figure in metrics.items():
                    row[metric] = row.get(metric, 0.0) + figure["value"] / len(tested)
    return means


def _tests(
    family: Sequence[Target], origins: Sequence[date], settings: Settings, shop: Shop
) -> Iterator[Test]:
    if targets.is_labelled(family[0]):
        yield from _labelled_tests(family[0], origins, settings, shop)
        return
    for day in origins[-1:] if settings.folds else origins:
        days = _days(family[0], day, settings.cutoffs, shop)
        material = learning_data.behaviour(family, cutoffs=days, shop=shop, **settings.reading)
        if not settings.folds:
            yield Test(day.isoformat(), day, material)
        for fold in range(settings.folds):
            part = learning_data.of_fold(
                material, fold, settings.folds, family=family, seed=settings.config.seed
            )
            yield Test(f"fold {fold + 1}", day, part)


def _labelled_tests(
    target: Target, origins: Sequence[date], settings: Settings, shop: Shop
) -> Iterator[Test]:
    if not settings.folds:
        for day in origins:
            material = learning_data.category(target, as_of=day, shop=shop, **settings.reading)
            yield Test(day.isoformat(), day, material)
        return
    day = origins[-1]
    whole = learning_data.labelled(target, as_of=day, shop=shop, **settings.reading)
    labels = np.asarray(whole.labels[target.slug])
    for fold, held in enumerate(splits.stratified_folds(labels, settings.folds, seed=settings.config.seed)):
        rest = np.setdiff1d(np.arange(len(whole)), held)
        material = learning_data.split_material(
            target, whole.take(rest), whole.take(held), as_of=day, shop=shop
        )
        yield Test(f"fold {fold + 1}", day, material)


def _judge(
    family: Sequence[Target],
    test: Test,
    settings: Settings,
    shop: Shop,
    progress: learners.Progress | None,
) -> tuple[dict[str, Any], learners.Judged]:
    material, config = test.material, settings.config
    if targets.is_labelled(family[0]):
        recipe = learners.category(material.targets[0], config, algorithms=settings.algorithms)
    else:
        recipe = learners.behaviour(material.targets, config, algorithms=settings.algorithms)
    trained = learners.train(material.train, recipe, progress=progress)
    rival = _rival(family, material)
    judged = learners.judge(
        trained, material.test, recipe, rival=rival, rounds=settings.rounds, seed=config.seed
    )
    figures = training.figures(judged.evaluations[recipe.candidate], rival)
    for target in family:
        if target.kind == Target.Kind.FUTURE_VALUE:
            figures[target.slug]["not_promised"] = promises.not_promised(test.day, shop)
    found = {
        "candidate": recipe.candidate,
        "data": dict(material.snapshot),
        "figures": figures,
        "seconds": dict(trained.seconds),
        "calibration": {
            name: [v.to_json() for v in verdicts] for name, verdicts in trained.calibration.items()
        },
    }
    return found, judged


def _rival(family: Sequence[Target], material: Material) -> learners.Rival:
    """The champions where they have not seen the test; a labelled one has seen every customer's label or may have."""
    if targets.is_labelled(family[0]):
        return learners.Rival()
    return rivals.find(family, material)


def _pooled(
    parts: Sequence[pooling.Part], family: Sequence[Target], settings: Settings, *, candidate: str
) -> dict[str, Any]:
    """Means over the tests with intervals over customers; of one test its own figures say all."""
    if len(parts) < 2:
        return {}
    found = pooling.pooled(
        parts, _schemas(family), own=candidate, rounds=settings.rounds, seed=settings.config.seed
    )
    return {
        slug: {
            kind: {
                model: {name: asdict(metric) for name, metric in metrics.items()}
                for model, metrics in rows.items()
            }
            for kind, rows in tables.items()
        }
        for slug, tables in found.items()
    }


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
    first = ["model", "test", "cutoff", "customer", "customer_id"]
    return joined.select(*first, pl.exclude(first))


def _share(watch: Watcher | None, start: float, share: float, name: str) -> learners.Progress | None:
    if watch is None:
        return None
    return lambda fraction, note, epoch: watch(start + share * fraction, f"{name}: {note}")
