"""The oracle can turn red: a product that breaks one of its rules is caught, and the same run without it is green."""

from __future__ import annotations

import re
import signal
import sqlite3
import time

import pytest
from django.conf import settings

from tests.chaos.processes import wait_for
from tests.chaos.trials import UNDERWAY_SECONDS

pytestmark = pytest.mark.skipif(
    "sqlite" not in settings.DATABASES["default"]["ENGINE"],
    reason="the mutants run on SQLite, in its own run",
)


def lapse(stack, table):
    """Time passes: what is held now was held too long."""
    stack.database.execute(f"UPDATE {table} SET lease_until = '2020-01-01' WHERE state = 'running'")


def freeze(stack, worker):
    """Stop the worker where it stands, and its claim runs out; not while it holds SQLite's one write lock."""
    for _ in range(100):
        worker.signal(signal.SIGSTOP)
        try:
            return lapse(stack, "segmentation_scoringshard")
        except sqlite3.OperationalError:
            worker.signal(signal.SIGCONT)
            time.sleep(0.1)
    raise AssertionError("the worker never let go of the database")


def parts_ended(worker):
    return len(re.findall(rb"Task score\.run_shard\[\S+\] (?:succeeded|raised)", worker.log.read_bytes()))


def test_early_acknowledgement_is_caught(new_stack, template):
    """The storm kills workers that acknowledge late, and stays green."""
    stack = new_stack("sqlite", template=template, sabotage=("early_acknowledgement",))
    talk = stack.tell(stack.orders(15))
    done = "SELECT count(*) FROM crm_integration_inboundmessage WHERE state = 'done'"
    wait_for(lambda: stack.value(done) >= 1, seconds=UNDERWAY_SECONDS, what="a message is done")
    worker = next(iter(stack.workers.values()))
    worker.kill()
    lapse(stack, "crm_integration_inboundmessage")
    lapse(stack, "segmentation_duecustomer")
    stack.restart(worker)
    talk.join()
    stack.settle()
    assert [finding for finding in stack.findings() if "should be" in finding]


def test_a_missing_outbox_is_caught(new_stack, template):
    """A worker dies between its commit and what it wanted to send; the storm does the same to staged messages."""
    stack = new_stack("sqlite", template=template, sabotage=("no_outbox",))
    newest = stack.value("SELECT max(id) FROM segmentation_decision")
    talk = stack.tell(stack.orders(10))
    more = f"SELECT 1 FROM segmentation_decision WHERE id > {newest} LIMIT 1"
    wait_for(
        lambda: stack.database.rows(more), seconds=UNDERWAY_SECONDS, what="somebody is decided", every=0.01
    )
    worker = next(iter(stack.workers.values()))
    worker.kill()
    lapse(stack, "crm_integration_inboundmessage")
    lapse(stack, "segmentation_duecustomer")
    stack.restart(worker)
    talk.join()
    stack.settle()
    assert [finding for finding in stack.findings() if "never heard" in finding]


@pytest.mark.parametrize("breaks", [False, True])
def test_a_missing_unique_key_is_caught(new_stack, template, breaks):
    stack = new_stack("sqlite", template=template, sabotage=("blind_ingest",))
    if breaks:
        stack.staff.do("forget_event_key")
    orders = stack.orders(3)
    again = [type(order)(**{**vars(order), "message_id": f"{order.message_id}-again"}) for order in orders]
    stack.tell(orders).join()
    stack.settle()  # what is stored together is compared in memory; the key is for what comes later
    stack.tell(again).join()
    stack.settle()
    doubled = [finding for finding in stack.findings() if "should be" in finding]
    assert len(doubled) == (3 if breaks else 0), stack.findings()


@pytest.mark.parametrize("breaks", [False, True])
def test_a_missing_fence_is_caught(new_stack, template, breaks):
    """A worker that froze in the middle of its part, and thaws when another has finished it."""
    sabotage = ("small_steps", "no_fence") if breaks else ("small_steps",)
    stack = new_stack("sqlite", template=template, sabotage=sabotage, pool=1)
    frozen = next(iter(stack.workers.values()))
    stack.staff.do("classify")
    moved = "SELECT 1 FROM segmentation_scoringshard WHERE state = 'running' AND scored > 0"
    wait_for(lambda: stack.database.rows(moved), seconds=UNDERWAY_SECONDS, what="a part is under way")
    freeze(stack, frozen)
    stack.join(pool=1)
    stack.settle()
    before = parts_ended(frozen)
    frozen.signal(signal.SIGCONT)
    wait_for(
        lambda: parts_ended(frozen) > before, seconds=UNDERWAY_SECONDS, what="its part is over for it too"
    )
    stack.settle()
    doubled = [finding for finding in stack.findings() if "scored" in finding]
    assert bool(doubled) is breaks, stack.findings()
