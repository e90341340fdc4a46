"""All attacks in full: `python -m tests.attacks [--short]`, on a database of their own or on that of DATABASE_URL.

DATABASE_URL must name an empty database: what comes in is left there. Prints a table, writes --out, and ends with 1
when anything was taken that should not be, broke, or was not explained.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

COUNT, SHORT = 10_000, 500


def main() -> int:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        _set_up(Path(folder))
        print(f"seed {options.seed}", flush=True)
        rows = [
            _timed(name, attack)
            for name, attack in _attacks(options, Path(folder)).items()
            if _is_wanted(name, options)
        ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    told = {"seed": options.seed, "short": options.short, "load": os.getloadavg()}
    written = {**_written(options.out), **{row["attack"]: {**row, **told} for row in rows}}
    options.out.write_text(json.dumps({"attacks": list(written.values())}, indent=1, default=str))
    print(table(rows))
    return 0 if all(row["good"] for row in rows) else 1


def _written(path: Path) -> dict[str, Any]:
    """What an earlier run saw, by attack: each can be run alone."""
    return {row["attack"]: row for row in json.loads(path.read_text())["attacks"]} if path.exists() else {}


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| Attack | N | Result | Seconds |", "|---|---|---|---|"]
    lines += [
        f"| {row['attack']} | {row['tried']:,} | {row['result']} | {row['seconds']:.0f} |" for row in rows
    ]
    return "\n".join(lines)


def _attacks(options: argparse.Namespace, folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    count = SHORT if options.short else COUNT
    return {
        "forgeries": lambda: _forgeries(count, options.seed),
        "hostile bodies, validly signed": lambda: _hostile(count, options.seed),
        "every event five times, sixteen senders": lambda: _copies(count // 5, options.seed),
        "rotations under load": lambda: _rotations(4 if options.short else 40),
        "deliveries lured to this machine": _canary,
        "receivers that fail": lambda: _receivers(40 if options.short else 300),
        "slow clients": lambda: _slow(folder),
        "lengths that lie": lambda: _lengths(folder),
    }


def _is_wanted(name: str, options: argparse.Namespace) -> bool:
    return not options.only or any(word in name for word in options.only)


def _forgeries(count: int, seed: int) -> dict[str, Any]:
    from tests.attacks import forgeries

    found = forgeries.run(count, seed)
    result = (
        f"accepted {len(found.accepted)}, other than 401 {len(found.broken)}; of {found.valid} valid ones between them "
        f"refused {len(found.valid_refused)}"
    )
    wrong = [*found.accepted, *found.broken, *found.valid_refused]
    return {
        "tried": count,
        "good": found.is_good,
        "result": result,
        "kinds": found.tried,
        "wrong": wrong[:20],
    }


def _hostile(count: int, seed: int) -> dict[str, Any]:
    from tests.attacks import hostile

    found = hostile.run(count, seed)
    outcomes = ", ".join(f"{name} {number}" for name, number in found.outcomes.most_common())
    bad = f"not taken {len(found.refused)}, unexplained {len(found.unexplained)}"
    result = f"{bad}, memory +{found.grown_mib:.0f} MiB; {outcomes}"
    good = found.is_good and found.grown_mib < 100
    wrong = [*found.refused, *found.unexplained]
    return {"tried": count, "good": good, "result": result, "kinds": found.tried, "wrong": wrong[:20]}


def _copies(events: int, seed: int) -> dict[str, Any]:
    from tests.attacks import crowd

    found = crowd.copies(events, seed)
    result = f"refused {len(found.refused)}; of {events:,} events stored {found.stored:,}, recorded {found.recorded:,}"
    return {"tried": found.sent, "good": found.is_good, "result": result, "wrong": found.refused[:20]}


def _rotations(seconds: float) -> dict[str, Any]:
    from tests.attacks import crowd

    found = crowd.rotations(seconds)
    result = (
        f"3 rotations: valid ones refused {len(found.refused)}, expired ones accepted {len(found.accepted)}"
    )
    wrong = found.refused + found.accepted
    return {"tried": found.sent, "good": found.is_good, "result": result, "wrong": wrong[:20]}


def _canary() -> dict[str, Any]:
    from tests.attacks import canary

    found = canary.run()
    kinds = ", ".join(f"{name} {number}" for name, number in found.tried.items())
    result = f"at the canary {len(found.sung)}, elsewhere {len(found.elsewhere)} ({kinds}); allowed: {found.control}"
    tried = sum(found.tried.values())
    return {"tried": tried, "good": found.is_good, "result": result, "wrong": found.sung + found.elsewhere}


def _receivers(each: int) -> dict[str, Any]:
    from tests.attacks import receivers

    found = receivers.run(each)
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found.ratios.items())
    result = (
        f"the other got all but beside {len(found.lost)} kinds, unsaid {len(found.unsaid)}; its 95th percentile "
        f"{median(found.well_ms.values()):.0f} ms beside one that is well, and of that beside {ratios}; "
        f"median {median(found.ratios.values()):.2f}"
    )
    tried = each * len(found.beside_ms)
    return {"tried": tried, "good": found.is_good, "result": result, "wrong": found.lost + found.unsaid}


def _slow(folder: Path) -> dict[str, Any]:
    from tests.attacks import wire

    with wire.site(folder / "slow") as place:
        found = wire.slow_clients(place, 200, honest=500)
    result = f"of {found.honest} honest requests failed {len(found.failed)}, p99 {1000 * found.p99:.0f} ms"
    good = not found.failed and found.p99 <= 1
    return {"tried": found.clients, "good": good, "result": result, "wrong": found.failed}


def _lengths(folder: Path) -> dict[str, Any]:
    from tests.attacks import wire

    with wire.site(folder / "lengths") as place:
        wire.lengths(place, megabytes=1)  # whatever is loaded once is loaded
        found = wire.lengths(place)
    result = f"wrongly answered {len(found.wrong)}, memory +{found.grown_mib:.0f} MiB"
    good = found.is_good and found.grown_mib <= 20
    return {"tried": len(found.answers), "good": good, "result": result, "wrong": found.wrong}


def _timed(name: str, attack: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started = time.monotonic()
    row = {"attack": name, **attack(), "seconds": time.monotonic() - started}
    print(f"{name}: {'good' if row['good'] else 'BAD'}, {row['result']}", flush=True)
    return row


def _set_up(folder: Path) -> None:
    os.environ.setdefault("DATABASE_URL", f"sqlite:///{folder / 'attacks.sqlite3'}")
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "config.settings", "JOB_SENDER": "tests.support.jobs.record",
        "JOB_GATHER_SECONDS": "0", "LOG_LEVEL": "CRITICAL", "TIERWISE_VAR": str(folder / "var"),
    }  # fmt: skip
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    arguments.add_argument("--short", action="store_true", help="a twentieth")
    arguments.add_argument("--only", nargs="+", default=[], help="those whose name holds one of these words")
    arguments.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments.add_argument("--out", type=Path, default=Path("var/attacks.json"))
    return arguments.parse_args()


if __name__ == "__main__":
    sys.exit(main())
