"""What strikes: each function breaks something, and returns when the fault is over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from tests.chaos.brokers import Embedded, Redis
from tests.chaos.clocks import Clock
from tests.chaos.door import PROMPT_SECONDS, Promise
from tests.chaos.points import POINTS
from tests.chaos.processes import wait_for
from tests.chaos.proxy import Proxy, can_forget
from tests.chaos.servers import Postgres
from tests.chaos.stack import OWN_NODE, Stack
from tests.support.patience import on_this_machine

STOPPED_SECONDS = 10.0
LOST_SECONDS = 60.0
FULL_SECONDS = 6.0
BAD_LINE_SECONDS = 20.0
DELAY_SECONDS = 2.0
WEAR_BYTES = 50_000
SKEW_MINUTES = 10
SKEWED_SECONDS = 5.0
# How often a fault kills at its point: fewer times than any row may be tried.
BLOWS = 4
BLOW_SECONDS = 120.0
Fault = Callable[[Stack], None]


# --- Processes --------------------------------------------------------------------------------------
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


def kill_at(stack: Stack, point: str, *, blows: int = BLOWS) -> None:
    """Whoever comes to the point first is killed there, and its machine starts it again; so many times."""
    for _ in range(blows):
        stack.trap.arm(point)
        try:
            victim, parent = wait_for(
                lambda: stack.trap.victim(point), seconds=BLOW_SECONDS, what=f"somebody dies {point}"
            )
        finally:
            stack.trap.disarm(point)
        # A pool child is replaced by its worker; the web server ends with its only process.
        for server in (stack.web, *stack.workers.values()):
            if server.pid == victim or (server is stack.web and server.pid == parent):
                wait_for(lambda server=server: not server.alive, seconds=BLOW_SECONDS, what="it ended")
                server.start()


def _fault_at(point: str) -> Fault:
    return lambda stack: kill_at(stack, point)


def join_and_leave(stack: Stack) -> None:
    """Workers come, go in order and die, while a run is under way."""
    first = stack.random.choice(list(stack.workers.values()))
    stack.join()
    first.stop()
    second = stack.join(wait=False)
    first.start()
    stack.leave(second)


def wrong_clocks(stack: Stack) -> None:
    """Only workers ten minutes ahead and behind; then the one's clock jumps back, the other's ahead."""
    right = list(stack.workers.values())
    clocks = [Clock(stack.folder / f"clock{number}") for number in range(2)]
    ahead, behind = clocks
    ahead.turn(minutes=SKEW_MINUTES)
    behind.turn(minutes=-SKEW_MINUTES)
    wrong = [stack.join(clock=clock) for clock in clocks]
    for worker in right:
        worker.stop()
    time.sleep(SKEWED_SECONDS)
    ahead.turn(minutes=-SKEW_MINUTES)
    behind.turn(minutes=SKEW_MINUTES)
    time.sleep(SKEWED_SECONDS)
    for worker in right:
        worker.start()
    for worker in wrong:
        stack.leave(worker)


def old_messages(stack: Stack) -> None:
    """The queues hold what an older version sent: names, arguments and formats that nobody knows any more."""
    stack.staff.do("send_old_messages")


# --- The broker -------------------------------------------------------------------------------------
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
    stack.broker.network.swallow()


def slow_broker(stack: Stack) -> None:
    """Whatever the broker answers comes two seconds later."""
    _bad_line(stack.broker.network, delay=DELAY_SECONDS)


def wear_broker(stack: Stack) -> None:
    """Each connection to the broker is reset when it has carried 50 kB."""
    _bad_line(stack.broker.network, wear=WEAR_BYTES)


def empty_broker(stack: Stack) -> None:
    stack.broker.empty()


def fill_broker(stack: Stack) -> None:
    """Redis has reached its maxmemory, and refuses whatever needs more."""
    assert isinstance(stack.broker, Redis)
    stack.broker.fill()
    time.sleep(STOPPED_SECONDS)
    stack.broker.restore()


# --- The database -----------------------------------------------------------------------------------
def restart_database(stack: Stack) -> None:
    """PostgreSQL stopped at once, in the middle of whatever it did, and back two seconds later."""
    _restart(stack, stack.database.stop_at_once)


def stop_database(stack: Stack) -> None:
    """As an administrator stops it ("fast"), and back two seconds later."""
    _restart(stack, stack.database.stop_in_order)


def _restart(stack: Stack, stop: Callable[[], None]) -> None:
    stop()
    time.sleep(2.0)
    stack.database.start()


def half_open_database(stack: Stack) -> None:
    """Every connection to PostgreSQL is gone at both ends without a word. New ones work."""
    stack.database.network.forget()


def slow_database(stack: Stack) -> None:
    """Whatever PostgreSQL answers comes two seconds later."""
    _bad_line(stack.database.network, delay=DELAY_SECONDS)


def wear_database(stack: Stack) -> None:
    """Each connection to PostgreSQL is reset when it has carried 50 kB."""
    _bad_line(stack.database.network, wear=WEAR_BYTES)


def _bad_line(network: Proxy, *, delay: float = 0.0, wear: int | None = None) -> None:
    network.delay, network.wear = delay, wear
    time.sleep(BAD_LINE_SECONDS)
    network.restore()


def fill_disk(stack: Stack) -> None:
    """The disk of the database, the data folder and the artifact cache is full for a few seconds."""
    assert stack.disk is not None
    stack.disk.fill()
    time.sleep(FULL_SECONDS)
    stack.disk.free()
    if isinstance(stack.database, Postgres):
        stack.database.start()  # it stops itself when its log cannot be written


PROCESSES = (kill_pool, kill_worker, kill_all, join_and_leave, wrong_clocks, old_messages)
OWN_BROKER = (kill_broker, stop_broker, half_open, slow_broker, wear_broker, fill_broker)
BROKER = (*OWN_BROKER, lose_broker, empty_broker)
OWN_DATABASE = (restart_database, stop_database, half_open_database, slow_database, wear_database)
DATABASE = (*OWN_DATABASE, fill_disk)
FAULTS: dict[str, Fault] = {
    **{function.__name__: function for function in (*PROCESSES, *BROKER, *DATABASE)},
    **{point: _fault_at(point) for point in POINTS},
}
# During these the database is away, for a moment or until it is noticed.
AWAY = (restart_database, stop_database, half_open_database)


def has_broker(stack: Stack) -> bool:
    """Whether it is a server of its own. The embedded broker is the database: it falls with the database."""
    return not isinstance(stack.broker, Embedded)


def promise(stack: Stack, fault: str) -> Promise | None:
    """What the shop may rely on at the door meanwhile; None where the web server itself is struck."""
    function = FAULTS[fault]
    if function in AWAY or (function is lose_broker and not has_broker(stack)):
        return Promise(refuses=True, seconds=on_this_machine(PROMPT_SECONDS))
    if function in DATABASE:
        return Promise(refuses=True)
    if function in BROKER:
        return Promise()
    return None


def faults_of(stack: Stack) -> list[str]:
    """Those that the cell knows."""
    left_out: set[Fault] = set()
    if not has_broker(stack):
        left_out |= set(OWN_BROKER)
    if not isinstance(stack.broker, Redis):
        left_out.add(fill_broker)
    if not isinstance(stack.database, Postgres):
        # SQLite's processes share one machine: its clock is the database's.
        left_out |= {*OWN_DATABASE, lose_broker, wrong_clocks}
    if stack.cell == OWN_NODE:  # what concerns no broker is tried beside the server that others use
        left_out |= {kill_pool, kill_worker, wrong_clocks, *DATABASE, *(FAULTS[point] for point in POINTS)}
    if stack.disk is None:
        left_out.add(fill_disk)
    if not can_forget():
        left_out.add(half_open_database)
    return [name for name, fault in FAULTS.items() if fault not in left_out]
