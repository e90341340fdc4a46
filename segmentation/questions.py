"""Questions about one score that are answered on request by a worker: reasons found by LIME, and what would change it.

`Explanation.result` of LIME: {"shares": [[feature, share, value], …], "fit", "usual_gap_days"}. Of what would change it:
{"reached", "steps": {"orders", "size", "extras"}, "order_minor", "now": [answer, chance], "then": [answer, chance],
"features": [[name, before, after], …], "tried"}; `then` is what the serving version really answers to the changed
features. Either may be {"refused": why}, a word of REFUSALS.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import numpy as np
import polars as pl

from segmentation import reasons, scoring, serving, steps, targets
from segmentation.features.influence import INFLUENCE, is_believable
from segmentation.jobs import Job, enqueue
from segmentation.models import CustomerFeatures, Explanation, Score, Target
from segmentation.serving import Answers, Serving

NO_SCORE: Final = "no_score"
NO_ORDERS: Final = "no_orders"
OUTDATED: Final = "outdated"
# Only in answers kept from before LIME could take events away.
READS_EVENTS: Final = "reads_events"
REFUSALS: Final = (NO_SCORE, NO_ORDERS, OUTDATED, READS_EVENTS)
BACKGROUND: Final = 300
# Bands of a chance to stop buying that a shop may want, and the chance each must stay below.
WANTED_RISK: Final = ("stays", "unsure")


class QuestionError(ValueError):
    """A question that makes no sense for this score; the message is a word of REFUSALS or the class asked for."""


def choices(score: Score) -> tuple[str, ...]:
    """What may be wanted instead of the present answer."""
    if score.abstain_reason:
        return ()
    if targets.is_class_target(score.target):
        classes = Serving(score.target, score.version).classes
        if score.target.kind == Target.Kind.VALUE_TIER:
            return tuple(classes[classes.index(score.label) + 1 :]) if score.label in classes else ()
        return tuple(name for name in classes if name != score.label)
    if score.target.kind == Target.Kind.CHURN and score.value is not None:
        from segmentation.dashboard import words

        now = words.risk_band(score.value)
        return tuple(
            band.slug for band in words.RISK_BANDS if band.slug in WANTED_RISK and band.high <= now.low
        )
    return ()


def ask(score: Score, kind: str, wanted: str = "") -> Explanation:
    """The answer if it is there, else a row for a worker. Raises QuestionError for what cannot be wanted."""
    if kind == Explanation.Kind.CHANGE and wanted not in choices(score):
        raise QuestionError(wanted)
    stamp = {"version_id": score.version_id, "as_of": score.as_of, "input_version": score.input_version}
    row, made = Explanation.objects.get_or_create(
        customer_id=score.customer_id, target_id=score.target_id, kind=kind, wanted=wanted, defaults=stamp
    )
    if not made and any(getattr(row, name) != value for name, value in stamp.items()):
        Explanation.objects.filter(pk=row.pk).update(**stamp, result=None)
        row.refresh_from_db()
    if row.result is None:
        enqueue(Job.ANSWER, explanation_id=row.pk)
    return row


def answer(explanation_id: int) -> None:
    """Work out one answer; it is kept only while its score is the same."""
    rows = Explanation.objects.select_related("target__attribute", "version")
    row = rows.filter(pk=explanation_id, result__isnull=True).first()
    if row is None:
        return
    score = (
        Score.objects.filter(customer=row.customer_id, target=row.target_id, abstain_reason="")
        .select_related("version", "target__attribute")
        .first()
    )
    if score is None or score.version_id != row.version_id:
        found: dict[str, Any] = {"refused": NO_SCORE}
    elif row.kind == Explanation.Kind.LIME:
        found = by_lime(score)
    else:
        found = what_would_change(score, row.wanted)
    same = Explanation.objects.filter(pk=row.pk, as_of=row.as_of, input_version=row.input_version)
    same.update(result=found)


def by_lime(score: Score) -> dict[str, Any]:
    from segmentation.ml import lime, occlusion
    from segmentation.ml.schema import Frame, target_named

    features = reasons.features_of(score.customer_id, score)
    predictor = serving.predictor(score.version)
    names = [column.name for column in predictor.columns]
    of_class = reasons.class_of(score) if targets.is_class_target(score.target) else 1
    if features.is_empty() or of_class is None or not set(names) <= set(features.columns):
        return {"refused": OUTDATED}
    events = reasons.events_of(score, getattr(predictor, "events_read", 0))
    found = lime.explain(
        predictor.predict,
        features.select(names),
        _background(score).select(names),
        target=target_named(predictor.targets, score.target.slug),
        of_class=of_class,
        events=events,
    )
    held = Frame(np.zeros(1), np.zeros(1), features[:1], events=events)
    values = {**features.row(0, named=True), **occlusion.counted(held, found.names, 0)}
    shares = dict(zip(found.names, found.shares.tolist(), strict=True))
    return {
        "shares": [
            [name, round(share, 6), reasons.plain(values[name])] for name, share in reasons.strongest(shares)
        ],
        "fit": round(found.fit, 3),
        "usual_gap_days": reasons.plain(values.get("gap_mean_days")),
    }


def what_would_change(score: Score, wanted: str) -> dict[str, Any]:
    """The smallest suggestion after which the serving version gives the wanted answer; else the one that comes nearest."""
    from segmentation.features import sequences

    pinned = scoring.pin()
    events, customers = _events(score.customer_id, pinned)
    usual = steps.usual(events)
    if usual is None:
        return {"refused": NO_ORDERS}
    has_tickets = bool(_feature(score, "tickets_open"))
    tried = steps.suggestions(open_tickets=has_tickets)
    laid = steps.laid_over(events, tried, usual, as_of=pinned.as_of, zone=pinned.shop.zone)
    features = _computed(laid, customers, len(tried), pinned)
    version = serving.answer(
        [Serving(score.target, score.version)],
        features,
        profiled=np.ones(len(tried), dtype=bool),
        outside=np.full(len(tried), "", dtype=object),
        catalogue_version=score.version.catalogue_version,
        newest_events=lambda count: sequences.build(
            laid, pinned.as_of, pinned.numbers, customers=features["customer_id"], newest=count
        ),
    )[0]
    possible = np.array([_is_believable(features, row) for row in range(len(tried))])
    reached, nearness = _reached(version, wanted)
    best = np.flatnonzero(possible & reached)
    row = int(best[0]) if len(best) else int(np.where(possible, nearness, -np.inf).argmax())
    return {
        "reached": bool(len(best)),
        "steps": asdict(tried[row]),
        "order_minor": round(usual.amount_minor * tried[row].size),
        "now": _said(version, 0),
        "then": _said(version, row),
        "features": _moved(features, row),
        "tried": len(tried),
    }


def _background(score: Score) -> pl.DataFrame:
    """Stored features of customers at even distances by id."""
    from django.db.models import Max, Min

    from segmentation.features import store
    from segmentation.models import Shop

    span = CustomerFeatures.objects.aggregate(first=Min("customer"), last=Max("customer"))
    first, last = span["first"] or 0, span["last"] or 0
    ids = list(range(first, last + 1, (last - first) // BACKGROUND + 1))
    features = store.read_features(ids).drop("as_of", "input_version")
    own = store.read_customers(features["customer_id"].to_list(), as_of=score.as_of, shop=Shop.get())
    names = [name for name in own.columns if name.startswith("attribute.")]
    return features.join(own.select("customer_id", *names), on="customer_id", how="left")


def _events(customer_id: int, pinned: scoring.Pinned) -> tuple[pl.DataFrame, pl.DataFrame]:
    from segmentation.features import store

    customers, selection = store.read_people([customer_id], as_of=pinned.as_of, shop=pinned.shop)
    return store.read_events(selection, as_of=pinned.as_of, shop=pinned.shop), customers


def _computed(
    laid: pl.DataFrame, customers: pl.DataFrame, count: int, pinned: scoring.Pinned
) -> pl.DataFrame:
    """Features of each suggestion, row by row, by the same code as everybody's."""
    from segmentation.features.compute import compute

    people = pl.concat([customers] * count).with_columns(
        pl.int_range(1, count + 1, dtype=pl.Int64, eager=True).alias("customer_id")
    )
    return compute(laid, pinned.as_of, pinned.numbers, customers=people)


def _feature(score: Score, name: str) -> float | None:
    features = reasons.features_of(score.customer_id, score)
    return None if features.is_empty() else features[name][0]


def _is_believable(features: pl.DataFrame, row: int) -> bool:
    return all(is_believable(name, features[name][0], features[name][row]) for name in INFLUENCE)


def _reached(answers: Answers, wanted: str) -> tuple[np.ndarray, np.ndarray]:
    """((n,) whether the answer is the wanted one, (n,) how near it comes)."""
    if targets.is_class_target(answers.serving.target):
        chances = answers.probabilities
        place = answers.serving.classes.index(wanted)
        near = np.zeros(len(answers.value)) if chances is None else chances[:, place]
        return answers.decided == wanted, near
    from segmentation.dashboard import words

    most = next(band.high for band in words.RISK_BANDS if band.slug == wanted)
    return answers.value < most, -answers.value


def _said(answers: Answers, row: int) -> list[Any]:
    return [str(answers.decided[row]), round(float(answers.value[row]), 6)]


def _moved(features: pl.DataFrame, row: int) -> list[list[Any]]:
    """What a shop can influence and what the steps move: name, before, after."""
    pairs = (
        (name, reasons.plain(features[name][0]), reasons.plain(features[name][row])) for name in INFLUENCE
    )
    return [[name, before, after] for name, before, after in pairs if before != after]
