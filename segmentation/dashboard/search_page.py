"""The trials of a run's search: a table, and the loss trial by trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import charts, words
from segmentation.dashboard.model_words import algorithm
from segmentation.models import SearchTrial, TrainingRun

MOST_TRIALS = 1000


@dataclass(frozen=True)
class Study:
    learner: str
    table: charts.Table
    chart: charts.Chart


def studies(run: TrainingRun) -> list[Study]:
    """One for each learner and family of targets, the best trial first in its table."""
    found: dict[tuple[str, str], list[SearchTrial]] = {}
    for trial in run.trials.all()[:MOST_TRIALS]:
        found.setdefault((trial.family, trial.learner), []).append(trial)
    return [
        _study(place, learner, family, trials)
        for place, ((family, learner), trials) in enumerate(found.items())
    ]


def _study(place: int, learner: str, family: str, trials: list[SearchTrial]) -> Study:
    ordered = sorted(trials, key=lambda trial: (trial.loss is None, trial.loss or 0.0, trial.number))
    rows = tuple(
        (
            str(trial.number),
            _settings(trial.settings) or _("as usual"),
            words.number(trial.loss, 4) if trial.loss is not None else trial.error[:80],
            words.number(trial.seconds, 1),
        )
        for trial in ordered
    )
    headers = (_("trial"), _("settings"), _("loss"), _("seconds"))
    return Study(f"{algorithm(learner)} ({family})", charts.Table(headers, rows), _chart(place, trials))


def _chart(place: int, trials: list[SearchTrial]) -> charts.Chart:
    points = [(float(t.number), t.loss) for t in trials if t.loss is not None]
    best = [(number, min(loss for other, loss in points if other <= number)) for number, _loss in points]
    return charts.lines(
        f"trials-{place}",
        _("Loss by trial"),
        _("Each trial, and the best so far; lower is better."),
        [
            charts.Line(_("trial"), points, color="slate", dots=True),
            charts.Line(_("best so far"), best),
        ],
        charts.Axes(_("trial"), _("loss"), y_min=None),
    )


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {'×'.join(map(str, v)) if isinstance(v, list) else v}" for name, v in settings.items()
    )
