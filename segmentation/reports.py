"""An evaluation as lines of text for a terminal: figures with intervals, baselines beside, paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# The figures that fit a terminal, by kind of target; the version's page shows all of them.
SHOWN = {
    "binary": ("auc", "average_precision", "log_loss", "calibration_error"),
    "multiclass": ("qwk", "macro_f1", "accuracy", "log_loss"),
    "value": ("gini", "spearman", "mae", "bias"),
}
ORDER = ("btyd", "logistic", "lightgbm", "mlp", "champion")


def lines(evaluation: Mapping[str, Mapping[str, Any]], *, name: str) -> Iterator[str]:
    """Lines for every target of `evaluation` (as stored with a version): slug → figures."""
    for slug, found in evaluation.items():
        yield f"{slug} ({found['rows']} customers)"
        for metric in _shown(found):
            yield _metric_line(found, metric, name)
        if found.get("not_promised"):
            yield f"  {found['not_promised']}"


def _shown(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Classes without an order have no tiers to agree on, but how well each is told from the others."""
    shown = SHOWN[found["kind"]]
    if found.get("leading") == "auc" and found["kind"] == "multiclass":
        return ("auc", "average_precision", *(metric for metric in shown if metric != "qwk"))
    return shown


def pooled_lines(pooled: Mapping[str, Any], *, name: str) -> Iterator[str]:
    """Means over several tests with intervals, and the paired differences (ml/pooling.py)."""
    for slug, found in pooled.items():
        yield slug
        for metric, own in found["metrics"][name].items():
            parts = [f"  {metric:<18}{name} {own['value']:.4f} [{own['low']:.4f}, {own['high']:.4f}]"]
            for other in sorted(found["differences"], key=simplest_first):
                difference = found["differences"][other].get(metric)
                if difference is not None:
                    parts.append(
                        f"{other} {found['metrics'][other][metric]['value']:.4f} ({difference['value']:+.4f} "
                        f"[{difference['low']:+.4f}, {difference['high']:+.4f}])"
                    )
            yield " · ".join(parts)


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
