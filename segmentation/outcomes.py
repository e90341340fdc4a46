"""What became of a day's answers once their horizon has passed, from the month-ends that score history keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from django.db.models import Max, Min
from django.utils.translation import gettext as _

from segmentation import bulk, labels, target_settings
from segmentation.ml import evaluation, metrics
from segmentation.ml.evaluation import PRIMARY, Measure
from segmentation.models import ModelVersion, ScoreHistory, Shop, Target
from segmentation.targets import to_schema

SAMPLE = 20_000
ROUNDS = 200
# A share or a total this far from what was said is worth a look, if more than chance.
SHARE_OFF, TOTAL_OFF = 0.1, 0.25
# Chances may be this much further from the truth than the test promised, if clearly so.
CALIBRATION_OFF = 0.05
ORDERED = (Target.Kind.VALUE_TIER, Target.Kind.NEXT_ORDER)
_GIVEN = {"customer_id": pl.Int64, "value": pl.Float64, "label": pl.String}


def find(target: Target, version: ModelVersion, *, day: date, shop: Shop) -> dict[str, Any]:
    """{"customers", "expected", "observed", "metrics": {name: {"value", "low", "high"}}}; {} without answers.

    expected and observed: mean chance and share who stopped buying; totals in major units; shares decided right.
    """
    given = _given(target, version, day)
    if given.is_empty():
        return {}
    truth = _truth(given["customer_id"], target, version, day, shop)
    if target.kind in ORDERED:
        names = to_schema(target).classes
        known = np.isin(given["label"].to_numpy(), names)
        given, truth = given.filter(pl.Series(known)), truth[known]
        if given.is_empty():
            return {}
    said, wanted = _asked(target, given, truth)
    drawn = evaluation.with_intervals(wanted, given["customer_id"].to_numpy(), rounds=ROUNDS, seed=1)
    return {
        "customers": given.height,
        "expected": said[0],
        "observed": said[1],
        "metrics": {name: asdict(metric) for name, metric in drawn.items()},
    }


def broken_promise(target: Target, version: ModelVersion, found: Mapping[str, Any]) -> str:
    """In words what is clearly worse than the version's evaluation said, or ""."""
    if not found:
        return ""
    if off := _level_off(target, found):
        return off
    told = version.evaluation.get(target.slug, {})
    primary = PRIMARY.get(told.get("kind", ""), "")
    promised = told.get("metrics", {}).get(primary)
    now = found["metrics"].get(primary)
    if promised and now and now["high"] < promised["low"]:
        return _(
            "they told customers apart worse than its test promised (%(metric)s %(now)s, promised %(then)s). "
            "Train again."
        ) % {"metric": primary, "now": f"{now['value']:.3f}", "then": f"{promised['value']:.3f}"}
    return _dishonest(told.get("metrics", {}), found["metrics"])


def _dishonest(promised: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    then, error = promised.get("calibration_error"), now.get("calibration_error")
    if then and error and error["low"] > then["high"] + CALIBRATION_OFF:
        return _(
            "the chances they were given are %(now)s points off on average, the test promised %(then)s. Train again."
        ) % {"now": f"{100 * error['value']:.0f}", "then": f"{100 * then['value']:.0f}"}
    return ""


def _level_off(target: Target, found: Mapping[str, Any]) -> str:
    expected, observed = found["expected"], found["observed"]
    if target.kind == Target.Kind.CHURN and abs(expected - observed) > SHARE_OFF:
        return _("%(expected)s were expected to stop buying, %(observed)s did. Train again.") % {
            "expected": f"{expected:.0%}",
            "observed": f"{observed:.0%}",
        }
    if target.kind in ORDERED and expected - observed > SHARE_OFF:
        return _("%(expected)s of the classes should have been right, %(observed)s were. Train again.") % {
            "expected": f"{expected:.0%}",
            "observed": f"{observed:.0%}",
        }
    bias = found["metrics"].get("bias")
    if bias and abs(bias["value"]) > TOTAL_OFF and bias["low"] * bias["high"] > 0:
        return _("customers spent %(observed)s where %(expected)s was expected. Train again.") % {
            "observed": f"{observed:,.0f}",
            "expected": f"{expected:,.0f}",
        }
    return ""


def _given(target: Target, version: ModelVersion, day: date) -> pl.DataFrame:
    """Answers of that day, of customers at even distances by id; sorted by customer."""
    kept = ScoreHistory.objects.filter(
        target=target, version=version, as_of=day, value__isnull=False, customer__merged_into__isnull=True
    )
    span = kept.aggregate(first=Min("customer"), last=Max("customer"))
    first, last = span["first"] or 0, span["last"] or 0
    ids = range(first, last + 1, (last - first) // SAMPLE + 1)
    rows = list(bulk.values_in(kept, ids, *_GIVEN))
    return pl.DataFrame(rows, schema=_GIVEN, orient="row").sort("customer_id")


def _truth(customers: pl.Series, target: Target, version: ModelVersion, day: date, shop: Shop) -> np.ndarray:
    """(n,) label of each customer, from all that is known now."""
    from segmentation.features import store

    end = day + timedelta(days=target.horizon_days)
    events = store.read_events(customers.to_list(), as_of=end, shop=shop, known_only=False)
    found = labels.label(
        events,
        cutoff=day,
        zone=shop.zone,
        horizon_days=target.horizon_days,
        minor_per_major=shop.minor_per_major,
        customers=customers,
    )
    if target.kind == Target.Kind.CHURN:
        return found["churn"].to_numpy()
    if target.kind == Target.Kind.NEXT_ORDER:
        return labels.spans(found["next_order_days"].to_numpy(), target_settings.next_days(target))
    spend = found["spend_ahead"].to_numpy()
    if target.kind == Target.Kind.VALUE_TIER:
        return labels.tiers(spend, version.config.get("tier_cuts", {}).get(target.slug, ()))
    return spend


def _asked(
    target: Target, given: pl.DataFrame, truth: np.ndarray
) -> tuple[tuple[float, float], dict[str, Measure]]:
    """((expected, observed), the measures that apply)."""
    value = given["value"].to_numpy()
    if target.kind == Target.Kind.CHURN:
        both = np.stack([1 - value, value], axis=1)
        return (float(value.mean()), float(truth.mean())), {
            "auc": partial(metrics.auc, truth, value),
            "log_loss": partial(metrics.log_loss, truth, both),
            "calibration_error": partial(metrics.calibration_error, truth, value),
        }
    if target.kind in ORDERED:
        names = to_schema(target).classes
        decided = np.array([names.index(label) for label in given["label"]], dtype=np.int64)
        # Of a class its chance is kept, so the mean is the share that should be right.
        return (float(value.mean()), float((decided == truth).mean())), {
            "qwk": partial(metrics.weighted_kappa, truth, decided, classes=len(names)),
            "accuracy": partial(metrics.accuracy, truth, decided),
        }
    return (float(value.sum()), float(truth.sum())), {
        "gini": partial(metrics.normalised_gini, truth, value),
        "bias": partial(metrics.bias_of_total, truth, value),
    }
