"""The decision frame: one row a customer with features, scores, attributes, consent, as rules see them.

Columns: customer_id · input_version · feature.<name> · score.<target>[.label|.<class>|.median] · override.<target>
(the model's own class where staff set another) · attribute.<slug> · customer.country/channel/tenure_days/is_profiled
· consent.marketing/profiling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from segmentation import targets
from segmentation.models import Target
from segmentation.serving import Answers, Serving
from segmentation.stages import stage

# Column of the model's own class ("" where it has none) for customers whose class staff set; null for the others.
OVERRIDE = "override."


@stage("rules")
def decision_frame(
    *,
    features: pl.DataFrame,
    customers: pl.DataFrame,
    facts: pl.DataFrame,
    answers: Sequence[Answers],
    consent: Sequence[pl.Series],
) -> pl.DataFrame:
    """Rows and order of `customers` (with `input_version`), which are those of `features` and `facts` as well.

    facts: see segmentation/order_facts.py. consent: see consents.answers_of.
    """
    ids = customers["customer_id"]
    columns = [
        ids,
        customers["input_version"],
        *_prefixed(features, "feature"),
        *(column for answer in answers for column in score_columns(answer)),
        *(customers[name] for name in customers.columns if name.startswith("attribute.")),
        customers["country"].alias("customer.country"),
        customers["channel"].alias("customer.channel"),
        features["tenure_days"].alias("customer.tenure_days"),
        facts["is_profiled"].alias("customer.is_profiled"),
        *consent,
    ]
    return pl.DataFrame(columns)


def score_columns(answer: Answers) -> list[pl.Series]:
    """What rules see of one target; null where there is no score, so that no condition on it holds."""
    serving = answer.serving
    name = f"score.{serving.target.slug}"
    columns = [_nullable(name, answer.value)]
    if serving.target.kind == Target.Kind.FUTURE_VALUE:
        columns.append(_nullable(f"{name}.median", answer.median))
    if targets.is_class_target(serving.target):
        columns.append(pl.Series(f"{name}.label", labels(answer), dtype=pl.String))
        if answer.said is not None:
            own = zip(answer.said.tolist(), answer.decided.tolist(), strict=True)
            told = [model if said else None for said, model in own]
            columns.append(pl.Series(OVERRIDE + serving.target.slug, told, dtype=pl.String))
        columns += [_nullable(f"{name}.{cls}", values) for cls, values in _by_class(answer, serving)]
    return columns


def labels(answer: Answers) -> list[str | None]:
    """(n,) the class that counts in words, None without any."""
    return [label or None for label in answer.in_force.tolist()]


def _by_class(answer: Answers, serving: Serving) -> list[tuple[str, np.ndarray]]:
    nothing = np.full(len(answer.value), np.nan)
    found = answer.probabilities
    return [
        (cls, nothing if found is None else found[:, position])
        for position, cls in enumerate(serving.classes)
    ]


def _nullable(name: str, values: np.ndarray) -> pl.Series:
    return pl.Series(name, values, dtype=pl.Float64, nan_to_null=True)


def _prefixed(features: pl.DataFrame, prefix: str) -> list[pl.Series]:
    """Feature columns under their rule names; attribute features are there as attributes already."""
    names = [name for name in features.columns if name != "customer_id" and not name.startswith("attribute.")]
    return [features[name].alias(f"{prefix}.{name}") for name in names]
