"""The short form: every kind of work interrupted once, on real processes; the long form is `make chaos`."""

from __future__ import annotations

import time

import pytest

from tests.chaos import trials
from tests.chaos.cells import CELL, SQLITE
from tests.chaos.faults import faults_of
from tests.chaos.processes import wait_for
from tests.chaos.work import ENDLESS
from tests.support.patience import on_this_machine

CANCEL_SECONDS = 10


def strike(stack, works, fault):
    trial = trials.run(stack, works, fault)
    print(trial)
    assert trial.settled, f"{trial.stuck}\n{stack.logs()}"
    assert trial.findings == []


def test_nothing_is_lost_and_nothing_doubled(new_stack, template_of):
    """On the cell that this run of the tests is about."""
    stack = new_stack(CELL, template=template_of(CELL))
    strike(stack, ["import", "classification", "delivery"], "kill_all")
    strike(stack, ["training", "rescore"], "kill_pool")
    for works, fault in (
        (["classification"], "empty_broker"),
        (["classification"], "stop_broker"),
        (["rescore"], "half_open"),
        (["delivery"], "restart_database"),
        (["rescore"], "old_messages"),
    ):
        if fault in faults_of(stack):
            strike(stack, works, fault)
    assert stack.database.rows("SELECT state, error FROM segmentation_trainingrun") == [("done", "")]
    assert {state for (state,) in stack.database.rows("SELECT state FROM segmentation_importrun")} == {"done"}
    assert stack.findings() == []


def test_a_training_stops_within_ten_seconds_and_poison_is_parked_alone(new_stack, template):
    if not SQLITE:
        pytest.skip("the same on every database; it runs with SQLite")
    stack = new_stack("sqlite", template=template, sabotage=("poison",))
    run = stack.staff.do("train", ENDLESS)
    poison, *others = stack.orders(6)
    poison = type(poison)(**{**vars(poison), "customer": "POISON"})
    stack.tell([poison, *others]).join()
    state = f"SELECT state FROM segmentation_trainingrun WHERE id = {run}"
    training = f"SELECT 1 FROM segmentation_trainingrun WHERE id = {run} AND progress > 0.2"
    wait_for(
        lambda: stack.database.rows(training), seconds=trials.UNDERWAY_SECONDS, what="the training trains"
    )
    asked = time.monotonic()
    assert stack.staff.do("cancel_training", run)
    limit = on_this_machine(CANCEL_SECONDS)
    wait_for(lambda: stack.value(state) == "cancelled", seconds=limit, what="cancelled")
    print(f"the training stopped after {time.monotonic() - asked:.1f} s of {limit:.0f} s")
    wait_for(lambda: _lapsed(stack), seconds=trials.UNDERWAY_SECONDS, what="the poison is parked", every=0.5)
    parked = (
        "SELECT c.reference, d.state, d.attempts FROM segmentation_duecustomer d "
        "JOIN segmentation_customer c ON c.id = d.customer_id"
    )
    assert stack.database.rows(parked) == [("POISON", "failed", 3)]
    assert stack.findings() == []


def _lapsed(stack):
    """Let each lease of a dead worker run out soon; true when nothing is under way."""
    stack.database.execute(
        "UPDATE segmentation_duecustomer SET lease_until = '2020-01-01' WHERE state = 'running' AND attempts > 0 "
        f"AND started_at < datetime('now', '-{on_this_machine(3):.0f} seconds')"
    )
    return not stack.oracle.unsettled()
