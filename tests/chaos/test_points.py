"""Killed just before and just after what cannot be taken back; twenty times each with `make chaos`."""

from __future__ import annotations

from threading import Event

from tests.chaos.cells import CELL
from tests.chaos.faults import kill_at
from tests.chaos.points import POINTS

BLOWS = 2


def test_whoever_is_killed_at_any_point_loses_nothing_and_doubles_nothing(new_stack, template_of):
    stack = new_stack(CELL, template=template_of(CELL))
    over = Event()
    talk = stack.chat(over)
    for point in POINTS:
        kill_at(stack, point, blows=BLOWS)
    over.set()
    talk.join()
    stack.settle()
    assert stack.findings() == []
