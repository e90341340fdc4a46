"""Rows of figures: kept by part of the measurement, put together as quality.json, and as the tables of docs/quality.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
PAGE = Path(__file__).parent.parent / "docs" / "quality.md"
# metric → (goal, whether more is better); None: nearer to 0 (bias) or to .8 (coverage) is.
GOALS: dict[tuple[str, str, str], str] = {
    ("Online Retail II", "churn", "auc"): "≥ .795",
    ("Online Retail II", "churn", "log_loss"): "≤ .545",
    ("Online Retail II", "churn", "calibration_error"): "≤ .05",
    ("Online Retail II", "future_value", "gini"): "≥ .833",
    ("Online Retail II", "future_value", "spearman"): "≥ .545",
    ("Online Retail II", "future_value", "mae"): "≤ 355",
    ("Online Retail II", "future_value", "coverage"): ".75 to .85",
    ("Online Shoppers", "bought", "auc"): "≥ .938",
    ("Online Shoppers", "bought", "average_precision"): "≥ .765",
}
SHOWN = {
    "churn": ("auc", "log_loss", "calibration_error"),
    "value_tier": ("qwk", "macro_f1", "log_loss", "accuracy"),
    "future_value": ("gini", "spearman", "mae", "bias", "coverage"),
    "bought": ("auc", "average_precision", "log_loss", "calibration_error"),
}
BLEND = "blend"


def keep(results: Path, part: str, rows: Sequence[Row]) -> None:
    _part(results, part).write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")


def write(results: Path) -> list[Row]:
    """All parts together, whichever were measured now."""
    rows: list[Row] = []
    for path in sorted(results.glob("part-*.json")):
        rows += json.loads(path.read_text(encoding="utf-8"))
    (results / "quality.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")
    return rows


def page(rows: Sequence[Row]) -> str:
    """docs/quality.md."""
    parts = [
        "# Figures of `make quality`",
        "Written by `python -m benchmarks.quality` from `benchmarks/results/quality.json`; do not edit. 95 % intervals over "
        "customers in brackets; differences are paired. What was tried, and the looks at test origins: "
        "[learning.md](learning.md).",
    ]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == dataset]
        parts.append(f"## {dataset}")
        targets = [target for target in dict.fromkeys(row["target"] for row in own) if target in SHOWN]
        for target in targets:
            of_target = [row for row in own if row["target"] == target]
            parts += [_models(dataset, target, of_target), _differences(of_target)]
        shown = {(target, metric) for target in targets for metric in SHOWN[target]}
        parts.append(_others([row for row in own if (row["target"], row["metric"]) not in shown]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _models(dataset: str, target: str, rows: Sequence[Row]) -> str:
    """A line a model, a column a metric, the goals above them."""
    metrics = [m for m in SHOWN[target] if any(row["metric"] == m for row in rows)]
    if not metrics:
        return ""
    known = {(row["model"], row["metric"]): row for row in rows}
    models = list(dict.fromkeys(row["model"] for row in rows))
    models.sort(key=lambda name: name != BLEND)
    lines = [f"| {target} | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    goals = [GOALS.get((dataset, target, metric), "") for metric in metrics]
    if any(goals):
        lines.append("| *goal* | " + " | ".join(goals) + " |")
    for model in models:
        cells = [_cell(known.get((model, metric))) for metric in metrics]
        if any(cells):
            lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _differences(rows: Sequence[Row]) -> str:
    """The blend less each of those it must beat."""
    found = [row for row in rows if row["model"] == BLEND and " minus " in row["metric"]]
    metrics = SHOWN.get(rows[0]["target"], ()) if rows else ()
    wanted = [row for row in found if row["metric"].split(" minus ")[0] in metrics]
    if not wanted:
        return ""
    lines = ["| blend | difference |", "|---|---|"]
    return "\n".join([*lines, *(f"| {row['metric']} | {_cell(row, sign='+')} |" for row in wanted)])


def _others(rows: Sequence[Row]) -> str:
    """What belongs to no table of models: shares of an oracle, seconds."""
    wanted = [row for row in rows if row["target"] not in SHOWN or not _is_plain(row["metric"])]
    wanted = [row for row in wanted if " minus " not in row["metric"] or "order of browsing" in row["metric"]]
    if not wanted:
        return ""
    lines = ["| target | model | figure | value | n |", "|---|---|---|---|---|"]
    told = (f"| {r['target']} | {r['model']} | {r['metric']} | {_cell(r)} | {r['n']} |" for r in wanted)
    return "\n".join([*lines, *told])


def _is_plain(metric: str) -> bool:
    """A metric of evaluation.measures that the tables leave out, such as weighted precision."""
    return " " not in metric


def _cell(row: Row | None, sign: str = "") -> str:
    if row is None:
        return ""
    digits = 1 if abs(row["value"]) >= 10 else 4
    low, high = row["interval"]
    value = f"{row['value']:{sign}.{digits}f}"
    return value if low == high else f"{value} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _part(results: Path, part: str) -> Path:
    return results / f"part-{part}.json"
