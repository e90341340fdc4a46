"""What strikes: each function breaks something, and returns when the fault is over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from tests.chaos.brokers import Embedded
from tests.chaos.servers import Postgres
from tests.chaos.stack import OWN_NODE, Stack

STOPPED_SECONDS = 10.0
LOST_SECONDS = 60.0
FULL_SECONDS = 6.0
Fault = Callable[[Stack], None]


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


def lose_broker(stack: Stack) -> None:
    """The broker is away for a whole minute: killed or refusing; where it is the database, the database."""
    away, back = _outage(stack)
    away()
    time.sleep(LOST_SECONDS)
    back()


def _outage(stack: Stack) -> tuple[Callable[[], None], Callable[[], None]]:
    if has_broker(stack):
        return stack.broker.kill, stack.broker.restore
    return stack.database.stop_at_once, stack.database.start


def half_open(stack: Stack) -> None:
    """Every connection to the broker takes bytes and delivers none, for good; nobody is told. New ones work."""
    stack.broker.half_open()


def empty_broker(stack: Stack) -> None:
    stack.broker.empty()


def restart_database(stack: Stack) -> None:
    """PostgreSQL stopped at once, in the middle of whatever it did, and back two seconds later."""
    assert isinstance(stack.database, Postgres)
    stack.database.stop_at_once()
    time.sleep(2.0)
    stack.database.start()


def fill_disk(stack: Stack) -> None:
    """The disk of the database, the data folder and the artifact cache is full for a few seconds."""
    assert stack.disk is not None
    stack.disk.fill()
    time.sleep(FULL_SECONDS)
    stack.disk.free()
    if isinstance(stack.database, Postgres):
        stack.database.start()  # it stops itself when its log cannot be written


def join_and_leave(stack: Stack) -> None:
    """Workers come, go in order and die, while a run is under way."""
    first = stack.random.choice(list(stack.workers.values()))
    stack.join()
    first.stop()
    second = stack.join(wait=False)
    first.start()
    second.kill()
    del stack.workers[second.name]


BROKER = (kill_broker, stop_broker, lose_broker, half_open, empty_broker)
FAULTS: dict[str, Fault] = {
    function.__name__: function
    for function in (kill_pool, kill_worker, kill_all, *BROKER, restart_database, fill_disk, join_and_leave)
}


def has_broker(stack: Stack) -> bool:
    """Whether it is a server of its own. The embedded broker is the database: it falls with the database."""
    return not isinstance(stack.broker, Embedded)


def faults_of(stack: Stack) -> list[str]:
    """Those that the cell knows."""
    left_out = set()
    if not has_broker(stack):
        left_out |= {"kill_broker", "stop_broker", "half_open"}
    if stack.cell == "sqlite":
        left_out |= {"restart_database", "lose_broker"}
    if stack.cell == OWN_NODE:  # what concerns no broker is tried beside the server that others use
        left_out |= {"kill_pool", "kill_worker", "restart_database", "fill_disk"}
    if stack.disk is None:
        left_out.add("fill_disk")
    return [name for name in FAULTS if name not in left_out]
