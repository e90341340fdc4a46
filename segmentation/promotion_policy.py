"""Which version should serve: what an evaluation stored against the champion and the baselines, and the target's policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.utils.translation import gettext as _

from segmentation import registry
from segmentation.models import ModelVersion, Target

Verdict = Literal[
    "first", "better", "not_worse", "worse", "fails_baselines", "unknown", "serving", "miscalibrated"
]
BASELINES = ("btyd", "logistic", "lightgbm", "random", "churn_first")
# The name under which an evaluation keeps the figures of the champion of its time.
CHAMPION = "champion"
# How much of a metric may be lost by chance alone before a challenger counts as worse.
MARGIN = {"auc": 0.005}
DEFAULT_MARGIN = 0.01
# What tells whether chances are honest, the first that an evaluation has.
CALIBRATION = ("calibration_error", "log_loss")


@dataclass(frozen=True)
class Paired:
    """The challenger's metric minus the other's, over the same bootstrap draws of customers (95 %)."""

    other: str
    metric: str
    difference: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Comparison:
    """Whether a version should serve a target. `reason` is a sentence for staff."""

    target: Target
    version: ModelVersion
    champion: ModelVersion | None
    verdict: Verdict
    reason: str
    paired: Paired | None = None
    baselines: tuple[Paired, ...] = ()

    @property
    def promotes(self) -> bool:
        return self.verdict in {"first", "better"}


def compare(target: Target, version: ModelVersion) -> Comparison:
    """Judge `version` by what its evaluation stored: baselines, and the champion on the same rows."""
    if version.artifact_deleted_at is not None:
        return Comparison(
            target, version, registry.champion(target), "unknown", registry.file_is_gone(version)
        )
    evaluation = version.evaluation.get(target.slug) or {}
    baselines = tuple(paired for name in BASELINES if (paired := _paired(evaluation, name)))
    current = registry.champion(target)
    if current is None:
        return _first(target, version, baselines)
    if current.pk == version.pk:
        reason = _("Version %(number)s serves “%(target)s” now.") % {
            "number": version.number,
            "target": target.name,
        }
        return Comparison(target, version, current, "serving", reason, baselines=baselines)
    paired = _from_champion(version, evaluation, current)
    if paired is None:
        reason = evaluation.get("champion_unknown") or _(
            "It was not compared with the present champion on the same customers. Train again to compare."
        )
        return Comparison(target, version, current, "unknown", reason, baselines=baselines)
    return _against(target, version, current, paired, baselines)


def promote_by_policy(
    version: ModelVersion, targets: Sequence[Target], *, simpler: Mapping[str, ModelVersion] | None = None
) -> list[Comparison]:
    """Compare for each target and promote where the policy says so; the rest stays challenger with the reason.

    simpler: baselines of the same training by name. Where there is no champion yet and one of them is clearly
    better than `version`, it serves instead, so that a shop's first training always gives scores.
    """
    comparisons = []
    for target in targets:
        comparison = compare(target, version)
        waits = comparison.verdict == "better" and target.promotes == Target.Promotes.BY_HAND
        if comparison.promotes and not waits:
            registry.promote(target, version, reason=comparison.reason)
        elif comparison.verdict == "fails_baselines":
            best = min(comparison.baselines, key=lambda paired: paired.difference)
            instead = (simpler or {}).get(best.other)
            if instead is not None:
                registry.promote(target, instead, reason=comparison.reason)
        comparisons.append(comparison)
    return comparisons


def left_to_a_person() -> dict[str, Any]:
    """The summary of a training whose target never gets another version by itself."""
    return {"verdict": "unknown", "reason": _("It waits as challenger: only a person promotes here.")}


def _paired(evaluation: Mapping[str, Any], other: str) -> Paired | None:
    """The stored difference in the primary metric from `other`, or None where there is none."""
    metric = evaluation.get("primary", "")
    stored = evaluation.get("differences", {}).get(other, {}).get(metric)
    if stored is None:
        return None
    return Paired(other, metric, float(stored["value"]), float(stored["low"]), float(stored["high"]))


def _from_champion(
    version: ModelVersion, evaluation: Mapping[str, Any], current: ModelVersion
) -> Paired | None:
    """The difference from the champion on the same customers, where both were judged together."""
    if evaluation.get("champion_version") == current.pk:
        return _paired(evaluation, CHAMPION)
    if version.training_run_id is not None and current.training_run_id == version.training_run_id:
        # The usual network is called by its place in the training, whichever network it is.
        return _paired(evaluation, current.config.get("learner", current.algorithm))
    return None


def _first(target: Target, version: ModelVersion, baselines: tuple[Paired, ...]) -> Comparison:
    """Without a champion a version serves unless it is clearly worse than something simpler."""
    lost = [paired for paired in baselines if paired.upper < 0]
    if lost:
        worst = min(lost, key=lambda paired: paired.difference)
        reason = _(
            "It ranks clearly below the baseline %(baseline)s: %(metric)s %(difference)s (%(lower)s to %(upper)s)."
        ) % (_words(worst) | {"baseline": worst.other})
        return Comparison(target, version, None, "fails_baselines", reason, baselines=baselines)
    reason = _("The first model of “%(target)s”, and none of the baselines is clearly better.") % {
        "target": target.name
    }
    return Comparison(target, version, None, "first", reason, baselines=baselines)


def _against(
    target: Target,
    version: ModelVersion,
    current: ModelVersion,
    paired: Paired,
    baselines: tuple[Paired, ...],
) -> Comparison:
    verdict, sentence, told = _judge(target, paired, _calibration(version, target, paired.other))
    reason = sentence % (_words(told) | {"number": current.number})
    return Comparison(target, version, current, verdict, reason, paired=paired, baselines=baselines)


def _calibration(version: ModelVersion, target: Target, other: str) -> Paired | None:
    """The difference in what says whether chances are honest: an error, so above zero is worse."""
    found = version.evaluation.get(target.slug) or {}
    stored = found.get("differences", {}).get(other, {})
    for metric in CALIBRATION:
        if metric in stored:
            given = stored[metric]
            return Paired(other, metric, float(given["value"]), float(given["low"]), float(given["high"]))
    return None


def _judge(target: Target, paired: Paired, calibration: Paired | None) -> tuple[Verdict, str, Paired]:
    """Verdict, sentence, and the figure that the sentence tells."""
    margin = MARGIN.get(paired.metric, DEFAULT_MARGIN)
    wants_clear = target.promotes == Target.Promotes.CLEAR_GAIN
    if wants_clear and calibration is not None and calibration.lower > 0:
        sentence = _(
            "Its chances are further from the truth than those of version %(number)s, whatever its ranking: "
            "%(metric)s %(difference)s (%(lower)s to %(upper)s)."
        )
        return "miscalibrated", sentence, calibration
    is_clear = paired.lower > 0 if wants_clear else paired.lower >= -margin
    if paired.difference > 0 and is_clear:
        verdict: Verdict = "better"
        sentence = _(
            "Better than version %(number)s on the same customers: %(metric)s %(difference)s (%(lower)s to %(upper)s)."
        )
    elif paired.upper < 0 or paired.difference < -margin:
        verdict = "worse"
        sentence = _(
            "Worse than version %(number)s on the same customers: %(metric)s %(difference)s (%(lower)s to %(upper)s)."
        )
    else:
        verdict = "not_worse"
        sentence = _(
            "No clear gain over version %(number)s: %(metric)s %(difference)s (%(lower)s to %(upper)s)."
        )
    return verdict, sentence, paired


def _words(paired: Paired) -> dict[str, Any]:
    return {
        "metric": paired.metric,
        "difference": f"{paired.difference:+.3f}",
        "lower": f"{paired.lower:+.3f}",
        "upper": f"{paired.upper:+.3f}",
    }
