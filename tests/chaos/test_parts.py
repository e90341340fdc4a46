"""The parts of the harness do what they are said to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.chaos.clocks import Clock
from tests.chaos.door import Answer, Promise
from tests.chaos.points import POINTS, Trap

FORKS = (
    "import os, time; from tests.chaos import clocks; clocks.follow(); print(time.time(), flush=True)\n"
    "if not os.fork(): clocks.follow(); print(time.time(), flush=True); os._exit(0)\n"
    "os.wait()"
)
ACCEPTED, COME_BACK = Answer(202, 0.1), Answer(503, 0.2, may_return=True)


@pytest.mark.parametrize(
    ("promise", "answer", "says"),
    [
        (Promise(), ACCEPTED, []),
        (Promise(), COME_BACK, ["1 × the door answered 503"]),
        (Promise(refuses=True), COME_BACK, []),
        (Promise(refuses=True), Answer(503, 0.1), ["1 × the door answered 503"]),
        (Promise(refuses=True), Answer(500, 0.1), ["1 × the door answered 500"]),
        (Promise(refuses=True), Answer(0, 0.1), ["1 × the door answered nothing"]),
        (Promise(refuses=True, seconds=5), Answer(202, 5.1), ["the door kept somebody waiting for 5.1 s"]),
    ],
)
def test_a_promise_at_the_door_is_kept_or_it_is_said_how_not(promise, answer, says):
    assert list(promise.broken_by([ACCEPTED, answer])) == says


@pytest.mark.parametrize("point", ["before_publish", "after_publish"])
def test_who_comes_to_an_armed_point_dies_there_and_nobody_else(tmp_path, point):
    trap = Trap(tmp_path)
    deed = (
        "from workers import sender; sender.send = lambda: print('done', flush=True);"
        "from tests.chaos import points; points.install('publish'); sender.send()"
    )

    def process():
        environment = {**os.environ, "CHAOS_POINTS": str(tmp_path)}
        return subprocess.run([sys.executable, "-c", deed], env=environment, capture_output=True, text=True)

    assert process().returncode == 0
    trap.arm(point)
    assert trap.victim(point) is None
    died = process()
    assert died.returncode == -signal.SIGKILL
    assert died.stdout == ("" if point.startswith("before") else "done\n")
    assert trap.victim(point)
    assert trap.victim(point) is None
    assert process().returncode == 0


def test_each_deed_has_two_sides():
    assert len(POINTS) == len(set(POINTS)) == 10


def test_a_process_goes_by_its_clock_and_what_it_forks_too(tmp_path):
    clock = Clock(tmp_path / "clock")
    clock.turn(minutes=-10)
    told = subprocess.run(
        [sys.executable, "-c", FORKS], env={**os.environ, **clock.environment}, capture_output=True, text=True
    )
    moments = [float(line) - time.time() for line in told.stdout.split()]
    assert [round(away / 600) for away in moments] == [-1, -1], told.stderr
