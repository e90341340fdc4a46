"""Scores as rows: the current ones, their history, and the headline columns of customers. Callers hold the transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import numpy as np
import polars as pl

from segmentation import bulk, packed, targets
from segmentation.models import ModelVersion, Score, ScoreHistory, Shop, Target
from segmentation.serving import NO_MODEL, NOT_PROFILED, Answers
from segmentation.stages import stage

RESULTS = ("value", "median", "lower", "upper", "label", "probabilities", "abstain_reason")
COLUMNS = ("customer_id", "target_id", "version_id", "as_of", "input_version", *RESULTS)
NEWER = bulk.Update(
    keys=("customer_id", "target_id"),
    # A new score has no reasons yet.
    columns=("version_id", "as_of", "input_version", *RESULTS, "reasons"),
    newer=("as_of", "input_version"),
    or_equal=True,
    locked=True,
)
HISTORY = ("customer_id", "target_id", "version_id", "as_of", "value", "label")
SAME_DAY = bulk.Update(
    keys=("customer_id", "target_id", "as_of"), columns=("version_id", "value", "label"), locked=True
)
_LABEL: Final = {"customer_id": pl.Int64, "target_id": pl.Int64, "label": pl.String}


@stage("scores")
def write_scores(keys: pl.DataFrame, answers: Sequence[Answers], *, as_of: date) -> int:
    """Upsert the scores of customers whose rows are locked; returns how many.

    keys: customer_id and input_version, in the order of the answers. An older (as_of, input_version) never
    overwrites a newer one. Who is not profiled keeps no score.
    """
    given = [
        _scores(keys, answer, answer.serving.version, as_of)
        for answer in answers
        if answer.serving.version is not None
    ]
    if not given:
        return 0
    scores = pl.concat(given)
    _write_history(scores, answers, as_of=as_of)
    refused = scores["abstain_reason"] == NOT_PROFILED
    if not refused.any():
        return bulk.insert(Score, COLUMNS, scores, on_conflict=NEWER)
    bulk.delete(Score, ("customer_id", "target_id"), scores.filter(refused))
    return bulk.insert(Score, COLUMNS, scores.filter(~refused), on_conflict=NEWER)


def headlines(
    facts: pl.DataFrame, keys: pl.DataFrame, answers: Sequence[Answers], *, as_of: date, shop: Shop
) -> pl.DataFrame:
    """The columns of Customer that lists show and filter by; rows of all three belong together."""
    columns = _first_of_each_kind(answers, shop)
    return facts.select(
        pl.col("customer_id").alias("id"),
        keys["input_version"],
        columns.get(Target.Kind.VALUE_TIER, pl.lit("")).alias("tier"),
        columns.get(Target.Kind.CHURN, pl.lit(None, pl.Float64)).alias("churn_probability"),
        columns.get(Target.Kind.FUTURE_VALUE, pl.lit(None, pl.Int64)).alias("future_value_minor"),
        "orders",
        "spent_minor",
        "first_order_at",
        "last_order_at",
        pl.lit(as_of).alias("scored_as_of"),
        keys["input_version"].alias("scored_version"),
        pl.Series("abstain_reason", abstain_reasons(answers, facts.height), dtype=pl.String),
    )


def with_tier_times(
    headlines: pl.DataFrame, stored: pl.DataFrame, *, differs: pl.Series, at: datetime
) -> pl.DataFrame:
    """The headlines with `tier_changed_at`: `at` where the tier is another than at the scoring before, else as it was.

    stored: scored_as_of and tier_changed_at from before this scoring, and differs: whether the tier does, in the order of
    the headlines.
    """
    times = stored["tier_changed_at"]
    if differs.any():
        is_new = differs & stored["scored_as_of"].is_not_null()
        times = pl.select(pl.when(is_new).then(pl.lit(at, times.dtype)).otherwise(times)).to_series()
    return headlines.with_columns(times.alias("tier_changed_at"))


def abstain_reasons(answers: Sequence[Answers], count: int) -> list[str]:
    """(n,) why a customer has no score of behaviour at all; "" where some target has one."""
    behaviour = [answer for answer in answers if targets.is_behaviour(answer.serving.target)]
    if not behaviour:
        return [NO_MODEL] * count
    scored = np.any([answer.abstained == "" for answer in behaviour], axis=0)
    return ["" if has else why for has, why in zip(scored, behaviour[0].abstained.tolist(), strict=True)]


def _scores(keys: pl.DataFrame, answer: Answers, version: ModelVersion, as_of: date) -> pl.DataFrame:
    """Rows of Score for one target."""
    return keys.select(
        "customer_id",
        pl.lit(answer.serving.target.pk, pl.Int64).alias("target_id"),
        pl.lit(version.pk, pl.Int64).alias("version_id"),
        pl.lit(as_of).alias("as_of"),
        "input_version",
        *(
            _figures(values).alias(name)
            for name, values in (
                ("value", answer.value),
                ("median", answer.median),
                ("lower", answer.lower),
                ("upper", answer.upper),
            )
        ),
        _label(answer).alias("label"),
        _packed(answer).alias("probabilities"),
        pl.Series("abstain_reason", answer.abstained.tolist(), dtype=pl.String),
    )


def _write_history(scores: pl.DataFrame, answers: Sequence[Answers], *, as_of: date) -> None:
    """Keep month-ends of everybody, and in between whoever changed class."""
    scored = scores.filter(pl.col("value").is_not_null())
    if as_of.day != 1:
        by_class = [a.serving.target.pk for a in answers if targets.is_class_target(a.serving.target)]
        scored = scored.filter(pl.col("target_id").is_in(by_class))
        scored = scored.join(_labels_before(scored, by_class), on=list(_LABEL), how="anti")
    bulk.insert(ScoreHistory, HISTORY, scored, on_conflict=SAME_DAY)


def _labels_before(scored: pl.DataFrame, target_ids: Sequence[int]) -> pl.DataFrame:
    """customer_id, target_id and label of the stored scores."""
    ids = sorted(set(scored["customer_id"].to_list()))
    wanted = set(target_ids)
    rows = [row for row in bulk.values_in(Score.objects.all(), ids, *_LABEL) if row[1] in wanted]
    return pl.DataFrame(rows, schema=_LABEL, orient="row")


def _first_of_each_kind(answers: Sequence[Answers], shop: Shop) -> dict[str, pl.Series]:
    """Headline values by kind of target; of several targets of a kind the first by slug with the usual name wins."""
    found: dict[str, pl.Series] = {}
    for answer in sorted(
        answers, key=lambda a: (a.serving.target.slug != a.serving.target.kind, a.serving.target.slug)
    ):
        kind = answer.serving.target.kind
        if kind not in found:
            found[kind] = _headline(answer, shop)
    return found


def _headline(answer: Answers, shop: Shop) -> pl.Series:
    if targets.is_class_target(answer.serving.target):
        return pl.Series(answer.in_force.tolist(), dtype=pl.String)
    if answer.serving.target.kind == Target.Kind.FUTURE_VALUE:
        return _figures(np.round(answer.value * shop.minor_per_major)).cast(pl.Int64)
    return _figures(answer.value)


def _label(answer: Answers) -> pl.Series:
    """(n,) the decided class in words, "" without a score."""
    return pl.Series(answer.decided, dtype=pl.String)


def _packed(answer: Answers) -> pl.Series:
    """Class probabilities as little-endian float64, as Score promises."""
    found = answer.probabilities
    if found is None:
        return pl.repeat(None, len(answer.value), dtype=pl.Binary, eager=True)
    return packed.pack(found.astype("<f8", copy=False), answer.label >= 0)


def _figures(values: np.ndarray) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64, nan_to_null=True)
