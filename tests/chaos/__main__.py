"""The long form: `python -m tests.chaos --minutes 60` strikes at every cell in turn and writes what it saw.

A cell has a stack that lives through its trials; the oracle looks after each of them, and the recomputation at the
end. A trial that finds something or does not settle ends the stack and leaves its folder for whoever looks into it;
the cell goes on with a new one. A later run with the same `--out` adds its trials, least tried faults first.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos import report, trials
from tests.chaos.faults import FAULTS, faults_of
from tests.chaos.points import POINTS
from tests.chaos.servers import Unavailable
from tests.chaos.stack import CELLS, Options, Stack, Template

# What a full disk is tried with: room for the database and the artifact caches, and little more.
MEGABYTES = {"sqlite": 160}
MEGABYTES_WITH_SERVER = 500
BROKEN_STACKS = 4
RUNS, MESSAGES = ("import", "classification", "training"), ("rescore", "delivery")
PRIVATE = "CHAOS_PRIVATE_MOUNTS"


@dataclass
class Campaign:
    """One run of the long form."""

    report: report.Report
    random: Random
    faults: list[str]
    times: float
    with_disk: bool
    folder: Path  # for what is made once and copied
    bad: int = 0
    templates: dict[bool, Template] = field(default_factory=dict)  # by whether it is SQLite's

    def cell(self, name: str, seconds: float) -> None:
        """Strike for `seconds`, stack after stack."""
        until, broken = time.monotonic() + seconds, 0
        while time.monotonic() < until and broken < BROKEN_STACKS:
            try:
                if self._stack(name, until):
                    return
            except Unavailable as missing:
                print(f"{name}: left out, {missing}", flush=True)
                self.report.cell(name)["left_out"] = str(missing)
                return
            broken += 1

    def _stack(self, cell: str, until: float) -> bool:
        """One stack until the time is over; False when it broke."""
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{cell}-"))
        life: dict[str, Any] = {"seed": self.random.getrandbits(32)}
        try:
            stack = self._new(cell, folder / "run", seed=life["seed"])
        except Unavailable:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.report.cell(cell)["stacks"].append(life)
        is_good = False
        try:
            stack.start()
            stack.warm()
            is_good = self._strike(stack, until)
            self._conclude(stack, life, is_good=is_good)
        except Exception as error:
            traceback.print_exc()
            life["stopped"] = f"{type(error).__name__}: {error}"[:2000]
        finally:
            stack.stop()
            self.report.write()
        is_good = is_good and not life.get("recomputed") and "stopped" not in life
        if is_good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            self.bad += 1
            print(f"{cell}: what it left is in {folder}", flush=True)
        return is_good

    def _new(self, cell: str, folder: Path, *, seed: int) -> Stack:
        """The first of its database leaves a copy, before it starts, for those that come after it."""
        megabytes = MEGABYTES.get(cell, MEGABYTES_WITH_SERVER) if self.with_disk else 0
        options, kind = Options(champion=True, megabytes=megabytes), cell == "sqlite"
        stack = Stack(cell, folder, seed=seed, options=options, template=self.templates.get(kind))
        if kind not in self.templates:
            self.templates[kind] = stack.as_template(self.folder / ("sqlite" if kind else "postgresql"))
        return stack

    def _strike(self, stack: Stack, until: float) -> bool:
        for works, fault in self._plan(stack):
            if time.monotonic() > until:
                return True
            trial = trials.run(stack, works, fault)
            self.report.cell(stack.cell)["trials"].append(trial.to_json())
            self.report.write()
            print(trial, flush=True)
            if not trial.is_good:
                return False
        return True

    def _conclude(self, stack: Stack, life: dict[str, Any], *, is_good: bool) -> None:
        life["messages"] = sum(1 for _ in stack.accepted.read())
        life["deliveries"] = sum(1 for _ in stack.delivered.read())
        life["artifact_caches"] = _caches(stack)
        if is_good:
            life["recomputed"] = stack.staff.do("recompute")

    def _plan(self, stack: Stack) -> Iterator[tuple[list[str], str]]:
        """The least tried fault first, each time in the middle of another run and of messages.

        Among those tried as often, the order asked for, or chance.
        """
        known = [fault for fault in self.faults or faults_of(stack) if fault in faults_of(stack)]
        while True:
            tried = {fault: self.report.tried(stack.cell, fault) for fault in known}
            if min(tried.values(), default=self.times) >= self.times:
                return
            rank = {
                fault: number if self.faults else self.random.random() for number, fault in enumerate(known)
            }
            fault = min(known, key=lambda name: (tried[name], rank[name]))
            turn = known.index(fault) + tried[fault]
            run = "classification" if fault == "join_and_leave" else RUNS[turn % len(RUNS)]
            messages = MESSAGES[turn % len(MESSAGES)]
            # Whoever is killed at a point had a message in hand, and is killed again and again.
            yield [messages] if fault in POINTS else [run, messages], fault


def main() -> int:
    options = _arguments()
    _clean_up_when_stopped()
    if not options.no_disk:
        _with_private_mounts()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-templates-") as folder:
        campaign = Campaign(
            report.Report(options.out, fresh=options.fresh),
            Random(options.seed),
            options.faults,
            times=options.times,
            with_disk=not options.no_disk and os.getuid() == 0,
            folder=Path(folder),
        )
        until = time.monotonic() + options.minutes * 60
        for number, cell in enumerate(options.cells):
            campaign.cell(cell, (until - time.monotonic()) / (len(options.cells) - number))
    campaign.report.write()
    print(report.table(campaign.report.cells))
    return 1 if campaign.bad else 0


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=60.0, help="for all cells together")
    arguments.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS)
    arguments.add_argument("--faults", nargs="+", default=[], choices=list(FAULTS), help="only these")
    arguments.add_argument("--times", type=float, default=math.inf, help="until each was tried so often")
    arguments.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments.add_argument("--out", type=Path, default=Path("var/chaos.json"), help="adds to what is there")
    arguments.add_argument("--fresh", action="store_true", help="forget what --out holds")
    arguments.add_argument("--no-disk", action="store_true", help="without the full disk (it needs root)")
    return arguments.parse_args()


def _clean_up_when_stopped() -> None:
    """What was started is stopped when the harness is asked to end."""

    def leave(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def _with_private_mounts() -> None:
    """The whole run again in a mount namespace of its own: whatever happens, its small disks vanish with it."""
    unshare = shutil.which("unshare")
    if os.getuid() != 0 or unshare is None or PRIVATE in os.environ:
        return
    os.environ[PRIVATE] = "1"
    again = [sys.executable, "-m", "tests.chaos", *sys.argv[1:]]
    os.execv(unshare, [unshare, "--mount", "--propagation", "private", *again])


def _caches(stack: Stack) -> int:
    """How many data folders hold artifacts that were fetched from the database."""
    folders = stack.environment("worker1")["TIERWISE_VAR"]
    return sum(1 for place in Path(folders).parent.glob("var*/artifacts") if any(place.iterdir()))


if __name__ == "__main__":
    sys.exit(main())
