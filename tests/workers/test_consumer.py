"""A worker and the broker it lost."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
from celery.utils.imports import symbol_by_name

from workers.celery import app
from workers.consumer import LONGEST

MINUTE = 60


def test_however_long_the_broker_is_away_a_worker_looks_for_it_every_few_seconds(monkeypatch):
    tries, slept = [], []

    def refused():
        if len(slept) > MINUTE:
            raise KeyboardInterrupt
        tries.append(sum(slept))
        raise ConnectionRefusedError

    monkeypatch.setattr("kombu.utils.functional.sleep", slept.append)
    connection = app.connection_for_read("amqp://127.0.0.1//")
    monkeypatch.setattr(connection, "_connection_factory", refused)
    kind = symbol_by_name(app.conf.worker_consumer)
    worker = kind.__new__(kind)  # alone, without the worker around it
    worker.app, worker.first_connection_attempt, worker.broker_connection_retry_attempt = app, False, 0
    with pytest.raises(KeyboardInterrupt):
        worker.ensure_connected(connection)
    assert max(later - earlier for earlier, later in pairwise(tries)) <= LONGEST


def test_a_worker_publishes_no_events_that_could_hold_it_up():
    """With confirms they would, for ever, on a connection that is half open."""
    kind = symbol_by_name(app.conf.worker_consumer)
    controller = SimpleNamespace(use_eventloop=False)
    worker = kind(
        print,
        app=app,
        controller=controller,
        worker_options={"task_events": True, "without_heartbeat": False},
    )
    started = {type(step).__name__ for step in worker.steps}
    assert {"Connection", "Tasks"} <= started
    assert not started & {"Events", "Heart", "Gossip", "Mingle"}
