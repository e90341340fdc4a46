"""What a run of the long form saw: kept as JSON that a later run adds to, and printed as a table."""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HEADINGS = (
    "cell", "fault", "N", "settled", "findings", "recovery p50", "p95", "max", "drained p50", "max",
)  # fmt: skip
Result = dict[str, Any]


class Report:
    """`cells`: what each cell saw, trial after trial. Written after each, so that a run can be cut off and go on."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        self.cells: dict[str, Result] = {}
        if path.exists() and not fresh:
            self.cells = json.loads(path.read_text())["cells"]

    def cell(self, name: str) -> Result:
        empty: Result = {"trials": [], "stacks": []}
        return self.cells.setdefault(name, empty)

    def write(self) -> None:
        seen = {"machine": machine(), "summary": summary(self.cells), "cells": self.cells}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(seen, indent=1))
        new.replace(self._path)

    def tried(self, cell: str, fault: str) -> int:
        return sum(trial["fault"] == fault for trial in self.cell(cell)["trials"])


def summary(cells: dict[str, Result]) -> list[Result]:
    """A line a cell and fault, one a cell, and one for all."""
    lines, everything = [], []
    for cell, result in cells.items():
        by_fault: dict[str, list[Result]] = defaultdict(list)
        for trial in result["trials"]:
            by_fault[trial["fault"]].append(trial)
        lines += [_line(cell, fault, trials) for fault, trials in sorted(by_fault.items())]
        lines.append(_line(cell, "all", result["trials"], more=found_later(result)))
        everything += result["trials"]
    later = sum(found_later(result) for result in cells.values())
    return [*lines, _line("all", "all", everything, more=later)]


def _line(cell: str, fault: str, trials: list[Result], *, more: int = 0) -> Result:
    recovery = sorted(trial["recovery"] for trial in trials if trial["recovery"] is not None)
    drained = sorted(trial["drained"] for trial in trials if trial["drained"] is not None)
    return {
        "cell": cell,
        "fault": fault,
        "trials": len(trials),
        "settled": sum(trial["settled"] for trial in trials),
        "findings": sum(len(trial["findings"]) for trial in trials) + more,
        "messages": sum(trial["accepted"] for trial in trials),
        "recovery": _spread(recovery),
        "drained": _spread(drained),
    }


def found_later(result: Result) -> int:
    """Findings of the recomputation at the end of a stack."""
    return sum(len(stack.get("recomputed") or []) for stack in result["stacks"])


def _spread(ordered: list[float]) -> dict[str, float] | None:
    if not ordered:
        return None
    return {"p50": _share(ordered, 0.5), "p95": _share(ordered, 0.95), "max": ordered[-1]}


def _share(ordered: list[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed."""
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def table(cells: dict[str, Result]) -> str:
    """Markdown, with the rule of three beside what was never seen."""
    lines = [_row(HEADINGS), "|" + " --- |" * len(HEADINGS)]
    found = summary(cells)
    lines += [_row(_texts(line)) for line in found if line["trials"]]
    total = found[-1]
    if total["messages"] and not total["findings"] and total["settled"] == total["trials"]:
        lines.append(
            f"\n{total['messages']} messages accepted before or during a fault, none lost and none doubled: with 95 % "
            f"confidence fewer than {3 / total['messages']:.2%} are (rule of three)."
        )
    return "\n".join(lines)


def _texts(line: Result) -> Iterable[str]:
    recovery, drained = line["recovery"], line["drained"]
    yield from (line["cell"], line["fault"].replace("_", " "))
    yield from (str(line[name]) for name in ("trials", "settled", "findings"))
    yield from (f"{recovery[name]:.0f} s" if recovery else "never" for name in ("p50", "p95", "max"))
    yield from (f"{drained[name]:.0f} s" if drained else "never" for name in ("p50", "max"))


def _row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
