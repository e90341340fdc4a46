"""One trial: start some work, let a fault strike in the middle of it, wait until all is settled, ask the oracle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from threading import Thread
from typing import Any

from tests.chaos.processes import answers, wait_for
from tests.chaos.servers import Postgres, wait_until_back
from tests.chaos.stack import Stack
from tests.chaos.work import QUICK

UNDERWAY_SECONDS = 300.0
STOPPED_SECONDS = 10.0
FULL_SECONDS = 6.0
RECOVERY_SECONDS = 30.0
IMPORT_LINES = 12_000


@dataclass(frozen=True)
class Work:
    """Something to be in the middle of. `start` may give a thread of the outside world to wait for."""

    name: str
    start: Callable[[Stack], Thread | None]
    underway: str  # a query that finds a row while the work is in its middle


def _import(stack: Stack) -> None:
    stack.staff.do("import_file", f"orders-{time.monotonic_ns()}.csv", stack.file_of_orders(IMPORT_LINES))


def _training(stack: Stack) -> None:
    stack.staff.do("train", {**QUICK, "epochs": 400, "patience": 400})


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


def kill_pool(stack: Stack) -> None:
    """kill -9 of every pool child of every worker, and of what they started."""
    for worker in stack.workers.values():
        for child in worker.children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def kill_worker(stack: Stack) -> None:
    """kill -9 of one whole worker; its machine starts it again."""
    worker = stack.random.choice(list(stack.workers.values()))
    worker.kill()
    worker.start()


def kill_all(stack: Stack) -> None:
    """kill -9 of every worker, both beats and the web server at once."""
    everybody = [*stack.workers.values(), *stack.beats, stack.web]
    for process in everybody:
        process.kill()
    for process in everybody:
        process.start()


def kill_broker(stack: Stack) -> None:
    stack.broker.kill()
    time.sleep(1.0)
    stack.broker.restore()


def stop_broker(stack: Stack) -> None:
    stack.broker.pause()
    time.sleep(STOPPED_SECONDS)
    stack.broker.restore()


def empty_broker(stack: Stack) -> None:
    stack.broker.empty()


def restart_database(stack: Stack) -> None:
    """PostgreSQL stopped at once, in the middle of whatever it did, and back two seconds later."""
    assert isinstance(stack.database, Postgres)
    stack.database.stop_at_once()
    time.sleep(2.0)
    stack.database.start()
    wait_until_back(stack.database)


def fill_disk(stack: Stack) -> None:
    """The disk of the database, the data folder and the artifact cache is full for a few seconds."""
    assert stack.disk is not None
    stack.disk.fill()
    time.sleep(FULL_SECONDS)
    stack.disk.free()
    if isinstance(stack.database, Postgres) and not answers(stack.database.port):
        stack.database.start()  # PostgreSQL stops itself when its log cannot be written
    wait_until_back(stack.database)


def join_and_leave(stack: Stack) -> None:
    """Workers come, go in order and die, while a run is under way."""
    first = stack.random.choice(list(stack.workers.values()))
    stack.join()
    first.stop()
    second = stack.join(wait=False)
    first.start()
    second.kill()
    del stack.workers[second.name]


FAULTS: dict[str, Callable[[Stack], None]] = {
    function.__name__: function
    for function in (
        kill_pool,
        kill_worker,
        kill_all,
        kill_broker,
        stop_broker,
        empty_broker,
        restart_database,
        fill_disk,
        join_and_leave,
    )
}


def faults_of(stack: Stack) -> list[str]:
    """Those that its cell knows. The embedded broker is the database: it is emptied, and falls with the database."""
    left_out = set()
    if not stack.cell.endswith(("rabbitmq", "redis")):
        left_out |= {"kill_broker", "stop_broker"}
    if stack.cell == "sqlite":
        left_out.add("restart_database")
    if stack.disk is None:
        left_out.add("fill_disk")
    return [name for name in FAULTS if name not in left_out]


@dataclass
class Trial:
    """recovery: seconds from the end of the fault until nothing is under way, the interrupted work included.

    late: what was still under way half a minute after the fault.
    """

    cell: str
    works: list[str]
    fault: str
    recovery: float = 0.0
    late: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def run(stack: Stack, works: list[str], fault: str) -> Trial:
    """Start each work when the one before is under way, strike in the middle of the last, and wait for the end."""
    trial = Trial(stack.cell, works, fault)
    talk = []
    for name in works:
        talk.append(WORKS[name].start(stack))
        _wait_until_underway(stack, WORKS[name])
    FAULTS[fault](stack)
    ended = time.monotonic()
    with suppress(AssertionError):
        wait_for(lambda: not stack.oracle.unsettled(), seconds=RECOVERY_SECONDS, what="settled", every=0.1)
    trial.late = stack.oracle.unsettled()
    for thread in filter(None, talk):
        thread.join()
    stack.settle()
    trial.recovery = time.monotonic() - ended
    trial.findings = stack.oracle.findings()
    return trial


def _wait_until_underway(stack: Stack, work: Work) -> None:
    def seen() -> bool:
        return bool(stack.database.rows(f"{work.underway} LIMIT 1")) or not stack.oracle.unsettled()

    wait_for(seen, seconds=UNDERWAY_SECONDS, what=f"{work.name} under way", every=0.02)
