"""The long form: `python -m tests.chaos --minutes 60` strikes at every cell in turn and writes what it saw.

Each cell has a stack of its own that lives through all its trials; the oracle looks after each of them, and the
recomputation at the end. A finding ends the cell and leaves its folder for whoever looks into it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos import trials
from tests.chaos.servers import Unavailable
from tests.chaos.stack import CELLS, Options, Stack

# What a full disk is tried with: room for the database and the artifact caches, and little more.
MEGABYTES = {"sqlite": 160, "postgresql": 400, "postgresql-rabbitmq": 400, "postgresql-redis": 400}
HEADINGS = ("cell", "fault", "trials", "recovery p50", "p95", "worst", "findings")


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=60.0, help="for all cells together")
    arguments.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS)
    arguments.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments.add_argument("--out", type=Path, default=Path("chaos.json"))
    arguments.add_argument("--no-disk", action="store_true", help="without the full disk (it needs root)")
    options = arguments.parse_args()
    print(f"seed {options.seed}", flush=True)
    seen: dict[str, Any] = {"seed": options.seed, "machine": _machine(), "cells": {}}
    for number, cell in enumerate(options.cells):
        left = options.minutes * 60 - seen.get("seconds", 0.0)
        share = left / (len(options.cells) - number)
        started = time.monotonic()
        seen["cells"][cell] = _cell(cell, options.seed + number, share, with_disk=not options.no_disk)
        seen["seconds"] = seen.get("seconds", 0.0) + time.monotonic() - started
        options.out.write_text(json.dumps(seen, indent=1))
    print(table(seen))
    return 1 if any(_findings(result) for result in seen["cells"].values()) else 0


def _cell(cell: str, seed: int, seconds: float, *, with_disk: bool) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{cell}-"))
    result: dict[str, Any] = {"seed": seed, "trials": [], "recomputed": None}
    until = time.monotonic() + seconds
    options = Options(champion=True, megabytes=MEGABYTES[cell] if with_disk else 0)
    try:
        stack = Stack(cell, folder / "run", seed=seed, options=options)
    except Unavailable as missing:
        print(f"{cell}: left out, {missing}", flush=True)
        return {**result, "left_out": str(missing)}
    try:
        stack.start()
        for works, fault in _plan(stack, Random(seed)):
            if time.monotonic() > until:
                break
            trial = trials.run(stack, works, fault)
            result["trials"].append(trial.to_json())
            print(
                f"{cell}: {fault} during {', '.join(works)}: {trial.recovery:.1f} s {trial.findings}",
                flush=True,
            )
            if trial.findings:
                break
        result["recomputed"] = stack.staff.do("recompute")
        result["messages"] = sum(1 for _ in stack.accepted.read())
        result["deliveries"] = sum(1 for _ in stack.delivered.read())
        result["artifact_caches"] = _caches(stack)
    except Exception as error:
        traceback.print_exc()
        result["stopped"] = f"{type(error).__name__}: {error}"[:2000]
    finally:
        stack.stop()
    if _findings(result):
        print(f"{cell}: what it left is in {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _plan(stack: Stack, random: Random) -> Any:
    """Every fault in a shuffled order, each during a work drawn by chance; again and again."""
    works = list(trials.WORKS)
    while True:
        faults = trials.faults_of(stack)
        random.shuffle(faults)
        for fault in faults:
            if fault == "join_and_leave":
                yield ["classification"], fault
            else:
                yield random.sample(works, 2), fault


def _caches(stack: Stack) -> int:
    """How many data folders hold artifacts that were fetched from the database."""
    folders = stack.environment("worker1")["TIERWISE_VAR"]
    return sum(1 for place in Path(folders).parent.glob("var*/artifacts") if any(place.iterdir()))


def _findings(result: dict[str, Any]) -> list[str]:
    found = [finding for trial in result["trials"] for finding in trial["findings"]]
    return [*found, *(result["recomputed"] or []), *([result["stopped"]] if "stopped" in result else [])]


def table(seen: dict[str, Any]) -> str:
    """Markdown, a line a cell and fault."""
    lines = [" | ".join(("", *HEADINGS, "")).strip(), "|" + " --- |" * len(HEADINGS)]
    for cell, result in seen["cells"].items():
        by_fault: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for trial in result["trials"]:
            by_fault[trial["fault"]].append(trial)
        for fault, tried in [*sorted(by_fault.items()), ("all", result["trials"])]:
            if not tried:
                continue
            seconds = sorted(trial["recovery"] for trial in tried)
            figures = (
                f"{value:.0f} s" for value in (_share(seconds, 0.5), _share(seconds, 0.95), seconds[-1])
            )
            found = sum(len(trial["findings"]) for trial in tried)
            cells = (cell, fault.replace("_", " "), str(len(tried)), *figures, str(found))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


if __name__ == "__main__":
    sys.exit(main())
