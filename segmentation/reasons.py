"""Why a customer has their scores: the share of each feature, worked out by a worker on request, kept with the score.

Nothing waits as a row: whoever finds no reasons nudges, so a lost nudge costs one more look. A new score has none yet.

`Score.reasons`: {"members": how the shares of each learner were found, "shares": [[feature, share, value], …] with the
largest first, "usual_gap_days": number or null, "looked_at": [[event kind, days ago, amount, share], …] the newest first,
where a network attends to events; it is no reason}. Words are found when somebody reads, in the reader's language.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from django.db.models import QuerySet

from segmentation import serving
from segmentation.jobs import Job, enqueue
from segmentation.ml import importance, occlusion
from segmentation.ml.schema import Frame, LearningError
from segmentation.ml.sequences import CHANNELS, Sequences
from segmentation.models import Score, Shop

# So many on either side.
SHOWN = 4
# Events shown of those that a network looked at.
SEEN = 6
LOG_AGE, LOG_AMOUNT = CHANNELS.index("log_age"), CHANNELS.index("log_amount")
NONE: dict[str, Any] = {"members": [], "shares": [], "usual_gap_days": None, "looked_at": []}


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
    frame = features_of(customer_id, scores[0])
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


def features_of(customer_id: int, score: Score) -> pl.DataFrame:
    """What the models saw, one row as stored; empty where it was stored by another catalogue."""
    from segmentation.features import store

    features = store.read_features([customer_id]).drop("as_of", "input_version")
    attributes = store.read_customers([customer_id], as_of=score.as_of, shop=Shop.get())
    own = [name for name in attributes.columns if name.startswith("attribute.")]
    return features.join(attributes.select("customer_id", *own), on="customer_id")


def events_of(score: Score, count: int) -> Sequences | None:
    """The customer's newest events as of the score, where its version reads them."""
    if not count:
        return None
    from segmentation import scoring
    from segmentation.features import sequences, store

    pinned = scoring.pin(score.as_of)
    events = store.read_events([score.customer_id], as_of=score.as_of, shop=pinned.shop)
    ids = pl.Series([score.customer_id])
    return sequences.build(events, score.as_of, pinned.numbers, customers=ids, newest=count)


def _reasons(score: Score, features: pl.DataFrame) -> dict[str, Any]:
    from segmentation.ml import explanation

    made = serving.predictor(score.version)
    estimator = made.estimator
    frame = Frame(
        ids=features["customer_id"].to_numpy(),
        cutoffs=np.zeros(1, dtype="datetime64[D]"),
        x=features.drop("customer_id"),
        events=events_of(score, made.events_read),
    )
    seen = _looked_at(estimator, frame)
    try:
        names, shares = explanation.contributions(
            estimator, frame, target=score.target.slug, of_class=class_of(score)
        )
    except LearningError:
        # No way to say it for this algorithm; or the version knows columns that the shop no longer has, and the next
        # scoring abstains for that reason.
        return {**NONE, "looked_at": seen}
    values = {**features.row(0, named=True), **occlusion.counted(frame, names, 0)}
    return {
        "members": list(explanation.methods_of(estimator)),
        "shares": [
            [name, round(share, 6), plain(values[name])]
            for name, share in strongest(dict(zip(names, shares[0].tolist(), strict=True)))
        ],
        "usual_gap_days": plain(values.get("gap_mean_days")),
        "looked_at": seen,
    }


def _looked_at(estimator: Any, frame: Frame) -> list[list[Any]]:
    """The events of one customer that the networks inside attended to most, as [kind, days ago, amount, share]."""
    from segmentation.ml import attention

    shares = attention.looked_at(estimator, frame)
    if shares is None or frame.events is None:
        return []
    events, count = frame.events, int(frame.events.lengths[0])
    most = sorted(np.argsort(-shares[0, :count], kind="stable")[:SEEN].tolist(), reverse=True)
    numbers = np.expm1(events.numeric[0].astype(np.float64))
    return [
        [
            int(events.kinds[0, place]),
            int(np.ceil(round(float(numbers[place, LOG_AGE]), 3))),
            round(float(numbers[place, LOG_AMOUNT]), 2),
            round(float(shares[0, place]), 4),
        ]
        for place in most
    ]


def strongest(shares: dict[str, float], *, shown: int = SHOWN) -> list[tuple[str, float]]:
    """The largest shares of either sign, windows of one thing added up: [(its strongest feature, share), …]."""
    # Its shares add up, and the strongest window speaks for it.
    groups = importance.groups(list(shares))
    summed = [
        (max(group, key=lambda name: abs(shares[name])), sum(shares[name] for name in group))
        for group in groups.values()
    ]
    ordered = sorted(summed, key=lambda pair: -abs(pair[1]))
    up = [pair for pair in ordered if pair[1] > 0][:shown]
    down = [pair for pair in ordered if pair[1] < 0][:shown]
    return sorted(up + down, key=lambda pair: -abs(pair[1]))


def class_of(score: Score) -> int | None:
    classes = serving.Serving(score.target, score.version).classes
    return classes.index(score.label) if score.label in classes else None


def plain(value: Any) -> Any:
    """A value that JSON knows."""
    return None if value is None or value != value else value
