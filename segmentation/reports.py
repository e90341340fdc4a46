"""An evaluation as lines of text for a terminal: figures with intervals, baselines beside, paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# The figures that fit a terminal, by kind of target; the version's page shows all of them.
SHOWN = {
    "binary": ("auc", "log_loss", "calibration_error"),
    "multiclass": ("qwk", "macro_f1", "accuracy", "log_loss"),
    "value": ("gini", "spearman", "mae", "bias"),
}
ORDER = ("btyd", "logistic", "lightgbm", "mlp", "champion")


def lines(evaluation: Mapping[str, Mapping[str, Any]], *, name: str = "blend") -> Iterator[str]:
    """Lines for every target of `evaluation` (as stored with a version): slug → figures."""
    for slug, found in evaluation.items():
        yield f"{slug} ({found['rows']} customers)"
        for metric in SHOWN[found["kind"]]:
            yield _metric_line(found, metric, name)


def mean_lines(means: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    """Lines of figures averaged over origins: slug → model → metric."""
    for slug, models in means.items():
        yield slug
        for name, metrics in models.items():
            yield f"  {name:<10}" + " · ".join(f"{metric} {value:.4f}" for metric, value in metrics.items())


def simplest_first(name: str) -> tuple[int, str]:
    """Simplest first; PostgreSQL's JSON keeps no order of its own."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _metric_line(found: Mapping[str, Any], metric: str, name: str) -> str:
    own = found["metrics"][metric]
    parts = [f"  {metric:<18}{name} {own['value']:.4f} [{own['low']:.4f}, {own['high']:.4f}]"]
    for other in sorted(found["baselines"], key=simplest_first):
        figures = found["baselines"][other]
        if metric not in figures:
            continue
        difference = found["differences"][other][metric]
        parts.append(
            f"{other} {figures[metric]['value']:.4f} "
            f"({difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}])"
        )
    return " · ".join(parts)
