"""Why a customer has their scores: the share of each feature, worked out by a worker on request, kept with the score.

Nothing waits as a row: whoever finds no reasons nudges, so a lost nudge costs one more look. A new score has none yet.

`Score.reasons`: {"members": learners whose shares were averaged, "shares": [[feature, share, value], …] with the
largest first, "usual_gap_days": number or null}. Words are found when somebody reads, in the reader's language.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
from django.db.models import QuerySet

from segmentation import serving
from segmentation.jobs import Job, enqueue
from segmentation.ml.schema import Frame, LearningError
from segmentation.models import Score, Shop

# So many on either side.
SHOWN = 4
# One thing over several windows is one reason: its shares add up, and the strongest window speaks for it.
_WINDOW = re.compile(r"_(\d+d|lifetime)$")
NONE: dict[str, Any] = {"members": [], "shares": [], "usual_gap_days": None}


def missing(customer_id: int) -> QuerySet[Score]:
    """The customer's scores that nobody has explained since they were made."""
    return Score.objects.filter(customer=customer_id, reasons__isnull=True, abstain_reason="")


def ask(customer_id: int) -> bool:
    """Nudge a worker where reasons are missing; whether there is anything to wait for."""
    if not missing(customer_id).exists():
        return False
    enqueue(Job.EXPLAIN, customer_id=customer_id)
    return True


def explain(customer_id: int) -> int:
    """Work out what is missing and keep it with scores that are still the same; returns how many were explained."""
    scores = list(missing(customer_id).select_related("version", "target__attribute"))
    if not scores:
        return 0
    frame = _features(customer_id, scores[0])
    kept = 0
    for score in scores:
        same = missing(customer_id).filter(
            target=score.target_id,
            version=score.version_id,
            as_of=score.as_of,
            input_version=score.input_version,
        )
        kept += same.update(reasons=NONE if frame.is_empty() else _reasons(score, frame))
    return kept


def _features(customer_id: int, score: Score) -> pl.DataFrame:
    """What the models saw, one row as stored; empty where it was stored by another catalogue."""
    from segmentation.features import store

    features = store.read_features([customer_id]).drop("as_of", "input_version")
    attributes = store.read_customers([customer_id], as_of=score.as_of, shop=Shop.get())
    own = [name for name in attributes.columns if name.startswith("attribute.")]
    return features.join(attributes.select("customer_id", *own), on="customer_id")


def _reasons(score: Score, features: pl.DataFrame) -> dict[str, Any]:
    from segmentation.ml import explanation

    estimator = serving.predictor(score.version).estimator
    frame = Frame(
        ids=features["customer_id"].to_numpy(),
        cutoffs=np.zeros(1, dtype="datetime64[D]"),
        x=features.drop("customer_id"),
    )
    try:
        names, shares = explanation.contributions(
            estimator, frame, target=score.target.slug, of_class=_class_of(score)
        )
    except LearningError:
        # The version knows columns that the shop no longer has; the next scoring abstains for that reason.
        return NONE
    values = features.row(0, named=True)
    return {
        "members": list(explanation.member_names(estimator)),
        "shares": [
            [name, round(share, 6), _plain(values[name])]
            for name, share in strongest(dict(zip(names, shares[0].tolist(), strict=True)))
        ],
        "usual_gap_days": _plain(values.get("gap_mean_days")),
    }


def strongest(shares: dict[str, float], *, shown: int = SHOWN) -> list[tuple[str, float]]:
    """The largest shares of either sign, windows of one thing added up: [(its strongest feature, share), …]."""
    groups: dict[str, list[str]] = {}
    for name in shares:
        groups.setdefault(_WINDOW.sub("", name), []).append(name)
    summed = [
        (max(group, key=lambda name: abs(shares[name])), sum(shares[name] for name in group))
        for group in groups.values()
    ]
    ordered = sorted(summed, key=lambda pair: -abs(pair[1]))
    up = [pair for pair in ordered if pair[1] > 0][:shown]
    down = [pair for pair in ordered if pair[1] < 0][:shown]
    return sorted(up + down, key=lambda pair: -abs(pair[1]))


def _class_of(score: Score) -> int | None:
    classes = serving.Serving(score.target, score.version).classes
    return classes.index(score.label) if score.label in classes else None


def _plain(value: Any) -> Any:
    """A value that JSON knows."""
    return None if value is None or value != value else value
