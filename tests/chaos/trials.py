"""One trial: start some work, let a fault strike in its middle, wait until all is settled, ask the oracle."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from threading import Event, Thread
from typing import Any

from tests.chaos.faults import FAULTS, promise
from tests.chaos.processes import wait_for
from tests.chaos.recovery import Recovery, accepted_before, ends, under_way
from tests.chaos.servers import Away
from tests.chaos.stack import SETTLE_SECONDS, Stack
from tests.chaos.work import QUICK

UNDERWAY_SECONDS = 300.0
IMPORT_LINES = 12_000
EPOCHS = 150  # long enough to be struck, short enough to be done again


@dataclass(frozen=True)
class Work:
    """Something to be in the middle of. `start` may give a thread of the outside world to wait for."""

    name: str
    start: Callable[[Stack], Thread | None]
    underway: str  # a query that finds a row while the work is in its middle


def _import(stack: Stack) -> None:
    stack.staff.do("import_file", f"orders-{time.monotonic_ns()}.csv", stack.file_of_orders(IMPORT_LINES))


def _training(stack: Stack) -> None:
    stack.staff.do("train", {**QUICK, "epochs": EPOCHS, "patience": EPOCHS})


def _classification(stack: Stack) -> None:
    stack.staff.do("classify")


def _webhooks(stack: Stack) -> Thread:
    return stack.tell(stack.orders(30, customers=20))


WORKS = {
    work.name: work
    for work in (
        Work(
            "import",
            _import,
            "SELECT 1 FROM segmentation_importrun WHERE state = 'running' AND progress > 0",
        ),
        Work(
            "training",
            _training,
            "SELECT 1 FROM segmentation_trainingrun WHERE state = 'running' AND progress > 0.2",
        ),
        Work(
            "classification",
            _classification,
            "SELECT 1 FROM segmentation_scoringshard WHERE state = 'running' AND scored > 0",
        ),
        Work("rescore", _webhooks, "SELECT 1 FROM segmentation_duecustomer WHERE state = 'running'"),
        Work("delivery", _webhooks, "SELECT 1 FROM crm_integration_outboundmessage WHERE state = 'running'"),
    )
}


@dataclass
class Trial:
    """Seconds from the end of the fault; None is never, within the patience of the harness.

    going: until each run that was struck moves again. decided: until every message accepted before or during the
    fault is worked in and the decision delivered. recovery: both. drained: until nothing at all is under way.
    """

    cell: str
    works: list[str]
    fault: str
    struck: list[str] = field(default_factory=list)  # what really was in its middle
    accepted: int = 0  # messages before or during the fault
    door: list[str] = field(default_factory=list)  # what the shop was told meanwhile and should not have been
    fault_seconds: float = 0.0
    going: float | None = None
    decided: float | None = None
    recovery: float | None = None
    drained: float | None = None
    settled: bool = False
    ended: dict[str, str] = field(default_factory=dict)  # how the struck runs ended
    stuck: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    load: float = 0.0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return self.settled and not self.findings

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        times = ", ".join(
            f"{name} {value:.1f} s" if value is not None else f"{name} never"
            for name, value in (("going", self.going), ("decided", self.decided), ("drained", self.drained))
        )
        end = " ".join(filter(None, [str(self.findings or ""), str(self.stuck or "")]))
        told = f"{self.cell}: {self.fault} during {', '.join(self.struck) or 'nothing'}, load {self.load:.0f}"
        return f"{told}: {times} {end}".rstrip()


def run(stack: Stack, works: list[str], fault: str) -> Trial:
    """Start each work when the one before is under way, strike in the middle of the last, and wait for the end.

    All the while the shop tells of orders, so that some are accepted before the fault and during it.
    """
    trial = Trial(stack.cell, works, fault, load=os.getloadavg()[0])
    began, place, asked = time.monotonic(), stack.accepted.size, len(stack.shop.answers)
    over = Event()
    talk = [stack.chat(over)]
    try:
        for name in works:
            talk.append(WORKS[name].start(stack))
            _wait_until_underway(stack, WORKS[name], talk[-1])
        recovery = _strike(stack, trial, place)
    finally:
        over.set()
    _watch(stack, trial, recovery, [thread for thread in talk if thread])
    trial.seconds = time.monotonic() - began
    if given := promise(stack, fault):
        trial.door = list(given.broken_by(stack.shop.answers[asked:]))
    if trial.settled:
        trial.findings = [*trial.door, *stack.oracle.findings()]
    return trial


def _strike(stack: Stack, trial: Trial, place: int) -> Recovery:
    trial.struck = [work.name for work in WORKS.values() if stack.database.rows(f"{work.underway} LIMIT 1")]
    interrupted = set(under_way(stack.database))
    struck = time.monotonic()
    FAULTS[trial.fault](stack)
    trial.fault_seconds = time.monotonic() - struck
    messages = accepted_before(stack.accepted, place, time.time())
    trial.accepted = len(messages)
    return Recovery(stack.database, interrupted, messages)


def _watch(stack: Stack, trial: Trial, recovery: Recovery, talk: list[Thread]) -> None:
    """Until nothing is under way, or the patience is over; a database that does not answer is asked again."""
    began = time.monotonic()
    try:
        wait_for(lambda: _asked(recovery.look), seconds=SETTLE_SECONDS, what="recovered", every=0.1)
        for thread in talk:
            thread.join()
        wait_for(lambda: _asked(stack.is_settled), seconds=SETTLE_SECONDS, what="settled", every=0.1)
        trial.drained, trial.settled = time.monotonic() - began, True
    except AssertionError as error:
        trial.stuck = [str(error), *recovery.missing(), *stack.oracle.unsettled()]
    trial.going, trial.decided, trial.recovery = recovery.going, recovery.decided, recovery.seconds
    trial.ended = ends(stack.database, recovery.interrupted)


def _asked(question: Callable[[], bool]) -> bool:
    with suppress(Away):
        return question()
    return False


def _wait_until_underway(stack: Stack, work: Work, talk: Thread | None) -> None:
    """Or over before it was seen: a trial says what it really struck. talk: who still tells of it."""

    def seen() -> bool:
        is_over = not (talk and talk.is_alive()) and stack.is_settled()
        return bool(stack.database.rows(f"{work.underway} LIMIT 1")) or is_over

    wait_for(seen, seconds=UNDERWAY_SECONDS, what=f"{work.name} under way", every=0.02)
