"""Scores as rows: the current ones, their history, and the headline columns of customers. Callers hold the transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from segmentation import bulk, frames, targets
from segmentation.models import Customer, ModelVersion, Score, ScoreHistory, Shop, Target
from segmentation.serving import NO_MODEL, NOT_PROFILED, Answers

RESULTS = ("value", "median", "lower", "upper", "label", "probabilities", "abstain_reason", "reasons")
COLUMNS = ("customer_id", "target_id", "version_id", "as_of", "input_version", *RESULTS)
NEWER = bulk.Update(
    keys=("customer_id", "target_id"),
    columns=("version_id", "as_of", "input_version", *RESULTS),
    newer=("as_of", "input_version"),
    or_equal=True,
)
HISTORY = ("customer_id", "target_id", "version_id", "as_of", "value", "label")
SAME_DAY = bulk.Update(keys=("customer_id", "target_id", "as_of"), columns=("version_id", "value", "label"))
HEADLINE = (
    "id",
    "input_version",
    "tier",
    "churn_probability",
    "future_value_minor",
    "orders",
    "spent_minor",
    "first_order_at",
    "last_order_at",
    "scored_as_of",
    "scored_version",
    "abstain_reason",
)


def write_scores(
    ids: Sequence[int], answers: Sequence[Answers], versions: Sequence[int], *, as_of: date
) -> int:
    """Upsert the scores of `ids`, whose answers and input versions are in their order; returns how many.

    An older (as_of, input_version) never overwrites a newer one. Who is not profiled keeps no score.
    """
    written = 0
    for answer in answers:
        version = answer.serving.version
        if version is None:
            continue
        names = frames.labels(answer)
        _write_history(ids, answer, version, names, as_of=as_of)
        written += bulk.insert(
            Score,
            COLUMNS,
            _score_rows(ids, answer, version, names, versions, as_of),
            on_conflict=NEWER,
        )
        refused = [key for key, why in zip(ids, answer.abstained, strict=True) if why == NOT_PROFILED]
        bulk.delete(Score, ("customer_id", "target_id"), [(key, answer.serving.target.pk) for key in refused])
    return written


def write_headlines(
    facts: pl.DataFrame, answers: Sequence[Answers], versions: Sequence[int], *, as_of: date, shop: Shop
) -> None:
    """The columns that lists show and filter by: rows of `facts`, `answers` and `versions` belong together."""
    count = facts.height
    tier, churn, value = ([""] * count, [None] * count, [None] * count)
    for kind, values in _first_of_each_kind(answers, shop).items():
        if kind == Target.Kind.VALUE_TIER:
            tier = values
        elif kind == Target.Kind.CHURN:
            churn = values
        elif kind == Target.Kind.FUTURE_VALUE:
            value = values
    columns = facts.select("customer_id", "orders", "spent_minor", "first_order_at", "last_order_at").rows()
    rows = [
        (row[0], version, tier[i], churn[i], value[i], *row[1:], as_of, version, why)
        for i, (row, version, why) in enumerate(
            zip(columns, versions, abstain_reasons(answers, count), strict=True)
        )
    ]
    bulk.update(Customer, HEADLINE, rows)


def abstain_reasons(answers: Sequence[Answers], count: int) -> list[str]:
    """(n,) why a customer has no score of behaviour at all; "" where some target has one."""
    behaviour = [answer for answer in answers if answer.serving.target.kind != Target.Kind.CATEGORY]
    if not behaviour:
        return [NO_MODEL] * count
    scored = np.any([answer.abstained == "" for answer in behaviour], axis=0)
    return ["" if has else why for has, why in zip(scored, behaviour[0].abstained.tolist(), strict=True)]


def _score_rows(
    ids: Sequence[int],
    answer: Answers,
    version: ModelVersion,
    names: Sequence[str | None],
    versions: Sequence[int],
    as_of: date,
) -> Iterator[tuple[Any, ...]]:
    target = answer.serving.target.pk
    packed = _packed(answer)
    figures = zip(
        *(_optional(values) for values in (answer.value, answer.median, answer.lower, answer.upper)),
        strict=True,
    )
    for i, (key, numbers) in enumerate(zip(ids, figures, strict=True)):
        why = answer.abstained[i]
        if why != NOT_PROFILED:
            yield (
                key,
                target,
                version.pk,
                as_of,
                versions[i],
                *numbers,
                names[i] or "",
                packed[i],
                why,
                None,
            )


def _write_history(
    ids: Sequence[int], answer: Answers, version: ModelVersion, names: Sequence[str | None], *, as_of: date
) -> None:
    """Keep month-ends of everybody, and in between whoever changed class."""
    target = answer.serving.target
    before: Mapping[int, str] = {}
    if as_of.day != 1:
        if not targets.is_class_target(target):
            return
        stored = Score.objects.filter(target=target)
        before = dict(bulk.values_in(stored, ids, "customer_id", "label"))
    rows = [
        (key, target.pk, version.pk, as_of, value, name or "")
        for key, value, name in zip(ids, answer.value.tolist(), names, strict=True)
        if value == value and (as_of.day == 1 or before.get(key) != name)
    ]
    bulk.insert(ScoreHistory, HISTORY, rows, on_conflict=SAME_DAY)


def _first_of_each_kind(answers: Sequence[Answers], shop: Shop) -> dict[str, list[Any]]:
    """Headline values by kind of target; of several targets of a kind the first by slug with the usual name wins."""
    found: dict[str, list[Any]] = {}
    for answer in sorted(
        answers, key=lambda a: (a.serving.target.slug != a.serving.target.kind, a.serving.target.slug)
    ):
        kind = answer.serving.target.kind
        if kind not in found:
            found[kind] = _headline(answer, shop)
    return found


def _headline(answer: Answers, shop: Shop) -> list[Any]:
    if targets.is_class_target(answer.serving.target):
        return [name or "" for name in frames.labels(answer)]
    if answer.serving.target.kind == Target.Kind.FUTURE_VALUE:
        minor = np.round(answer.value * shop.minor_per_major)
        return [None if value != value else int(value) for value in minor.tolist()]
    return _optional(answer.value)


def _packed(answer: Answers) -> list[bytes | None]:
    """Class probabilities as little-endian float64, as Score promises."""
    found = answer.probabilities
    if found is None:
        return [None] * len(answer.value)
    little = np.ascontiguousarray(found, dtype="<f8")
    return [None if index < 0 else little[i].tobytes() for i, index in enumerate(answer.label.tolist())]


def _optional(values: np.ndarray) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]
