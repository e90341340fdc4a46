"""How results are shown and kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmarks import setup

ORDER = (
    "start", "context", "read", "features", "network", "trees", "predict", "rules", "lock", "headline", "vectors",
    "scores", "memberships", "decisions", "snapshots", "outbox", "indexes", "finish", "other", "waiting",
)  # fmt: skip


def show(result: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Print, and keep as JSON in the benchmarks' folder."""
    print("\n".join(lines), flush=True)
    stamp = datetime.now(UTC)
    kept = {**result, "at": stamp.isoformat(timespec="seconds"), "machine": machine()}
    place = setup.folder() / "results"
    place.mkdir(exist_ok=True)
    path = place / f"{stamp:%Y%m%d-%H%M%S}-{result['benchmark']}-{os.getpid()}.json"
    path.write_text(json.dumps(kept, indent=1, default=str))
    print(f"→ {path}", flush=True)


def machine() -> dict[str, Any]:
    """What ran, and how busy the machine was: a load above the number of processors makes every second longer."""
    return {
        "processors": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    return {name: 1000 * float(np.quantile(seconds, q)) for name, q in (("p50", 0.5), ("p99", 0.99))}


def stages(run: Mapping[str, float], floor: Mapping[str, float], again: Mapping[str, float]) -> list[str]:
    """Seconds of all workers by stage."""
    whole = sum(run.values())
    out = [f"  {'stage':<12} {'seconds':>8} {'share':>6} {'floor':>8} {'next day':>9}"]
    for name in [*ORDER, *sorted(set(run) | set(floor) - set(ORDER) - set(run))]:
        if (name not in run and name not in floor) or name in (line.split()[0] for line in out):
            continue
        seconds = run.get(name, 0.0)
        out.append(
            f"  {name:<12} {seconds:>8.2f} {seconds / whole:>6.1%} {_cell(floor, name):>8} {_cell(again, name):>9}"
        )
    return [*out, f"  load {machine()['load'][0]} on {os.cpu_count()} processors"]


def _cell(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.2f}" if name in values else ""
