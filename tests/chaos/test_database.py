"""PostgreSQL stopped in order, lost without a word, behind a line that breaks; workers whose clocks are wrong."""

from __future__ import annotations

import pytest

from tests.chaos.cells import CELL, SQLITE
from tests.chaos.faults import faults_of
from tests.chaos.test_storm import strike

pytestmark = pytest.mark.skipif(SQLITE, reason="SQLite is a file of one machine: no server, one clock")


def test_a_database_that_goes_away_in_any_way_loses_nothing(new_stack, template_of):
    stack = new_stack(CELL, template=template_of(CELL))
    for fault in ("stop_database", "half_open_database", "wear_database", "wrong_clocks"):
        if fault in faults_of(stack):
            strike(stack, ["rescore"], fault)
    assert stack.findings() == []
