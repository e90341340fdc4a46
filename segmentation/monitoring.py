"""Whether serving versions still answer as they did when they were judged: what they see, say, and what became of it.

After each classification the champion's inputs and answers are set beside those of its training (segmentation/ml/
drift.py). What a target's horizon has passed by is set beside what customers did since. Both are kept as ModelCheck
rows, and an Alert is open while a figure is out of bounds. Where the shop wants it, an alert starts a training too
(segmentation/retraining.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.utils.translation import gettext as _

from segmentation import alerts, bulk, outcomes, registry, retraining, targets
from segmentation.ml import drift
from segmentation.ml.schema import Frame, Prediction, TargetPrediction
from segmentation.ml.schema import Target as Learned
from segmentation.models import ModelCheck, ModelVersion, Score, Shop, Target, TrainingRun

# Fewer customers than this say nothing about a distribution or a promise.
ENOUGH = 200


def reference(train: Frame, test: Prediction, learned: Sequence[Learned]) -> dict[str, Any]:
    """What a version is compared with later: profiles of its training columns and of its answers to the test rows."""
    return {
        "features": {column.name: drift.profile(column) for column in train.x.get_columns()},
        "answers": {target.name: drift.profile(_answered(target, test[target.name])) for target in learned},
    }


def check(features: pl.DataFrame, *, as_of: date, shop: Shop) -> list[ModelCheck]:
    """Check every champion after a classification as of `as_of`. features: a sample's stored features, by customer."""
    wanted = targets.scored()
    found = []
    for slug, version in registry.champions(wanted).items():
        target = next(one for one in wanted if one.slug == slug)
        answers = _answers(target, version, features["customer_id"].to_list())
        if answers.height >= ENOUGH and version.reference:
            found.append(_compare(target, version, features, answers, as_of=as_of))
    for late in _due(as_of):
        _judge(late, shop)
    return found


def _answered(target: Learned, answer: TargetPrediction) -> pl.Series:
    """One column that stands for the answers: chance, expected value, or decided class."""
    if target.kind == "binary":
        return pl.Series("answer", answer.positive)
    if target.kind in {"value", "effect"}:
        return pl.Series("answer", answer.mean)
    decided = (
        answer.decided if answer.decided is not None else np.asarray(answer.probabilities).argmax(axis=1)
    )
    return pl.Series("answer", [target.classes[index] for index in decided])


def _answers(target: Target, version: ModelVersion, ids: Sequence[int]) -> pl.DataFrame:
    """customer_id and answer of those among `ids` whom this version has scored."""
    column = "label" if targets.is_class_target(target) else "value"
    scored = Score.objects.filter(target=target, version=version, abstain_reason="")
    kind = pl.String if column == "label" else pl.Float64
    rows = list(bulk.values_in(scored, ids, "customer_id", column))
    return pl.DataFrame(rows, schema={"customer_id": pl.Int64, "answer": kind}, orient="row")


def _compare(
    target: Target, version: ModelVersion, features: pl.DataFrame, answers: pl.DataFrame, *, as_of: date
) -> ModelCheck:
    """Of the customers that the version answers for: it never saw the others."""
    seen = features.join(answers, on="customer_id", how="semi")
    expected: Mapping[str, Any] = version.reference["features"]
    moved = {name: drift.index(expected[name], seen[name]) for name in expected if name in seen.columns}
    known = version.reference["answers"].get(target.slug)
    answered = drift.index(known, answers["answer"]) if known else None
    made, _created = ModelCheck.objects.update_or_create(
        version=version,
        target=target,
        as_of=as_of,
        defaults={
            "customers": seen.height,
            "features": {name: round(value, 4) for name, value in moved.items()},
            "answers": answered,
        },
    )
    _tell_of_drift(made)
    return made


def _tell_of_drift(made: ModelCheck) -> None:
    key = f"drift:{made.target.slug}"
    if made.answers is None or made.answers < drift.FAR:
        alerts.resolve(key)
        return
    note = _(
        "“%(target)s”: the answers of version %(number)s are spread otherwise than when it was tested "
        "(stability index %(index)s, from %(bound)s on worth a look). See its page for the features that moved, "
        "and train again."
    ) % {
        "target": made.target.name,
        "number": made.version.number,
        "index": f"{made.answers:.2f}",
        "bound": drift.FAR,
    }
    alerts.raise_once(key, note)
    retraining.after_alert(made.target, TrainingRun.Cause.DRIFT, note)


def _due(as_of: date) -> list[ModelCheck]:
    """Checks whose customers have lived through the horizon since."""
    waiting = ModelCheck.objects.filter(outcome__isnull=True, as_of__day=1).select_related(
        "target", "version"
    )
    return [
        made
        for made in waiting.order_by("as_of")
        if targets.is_behaviour(made.target)
        and made.as_of + timedelta(days=made.target.horizon_days) <= as_of
    ]


def _judge(made: ModelCheck, shop: Shop) -> None:
    """Keep what became of the answers; nothing to keep is kept as an empty outcome, so that nobody looks again."""
    found = outcomes.find(made.target, made.version, day=made.as_of, shop=shop)
    made.outcome = found
    made.save(update_fields=["outcome"])
    key = f"outcome:{made.target.slug}"
    reason = outcomes.broken_promise(made.target, made.version, found)
    if not reason:
        alerts.resolve(key)
        return
    note = _("“%(target)s”, answers of %(day)s by version %(number)s: %(reason)s") % {
        "target": made.target.name,
        "day": made.as_of.isoformat(),
        "number": made.version.number,
        "reason": reason,
    }
    alerts.raise_once(key, note)
    retraining.after_alert(made.target, TrainingRun.Cause.OUTCOME, note)
