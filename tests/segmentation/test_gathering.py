from __future__ import annotations

import os
from threading import Event

from segmentation.gathering import Gatherer
from segmentation.jobs import Job, enqueue_due

PATIENCE = 30


def test_the_first_is_served_at_once_and_who_asks_meanwhile_together():
    served, first, go_on, second = [], Event(), Event(), Event()

    def serve(thing):
        served.append(thing)
        if len(served) == 1:
            first.set()
            go_on.wait(PATIENCE)
        else:
            second.set()

    gatherer = Gatherer(serve, lambda: 0.01)
    gatherer.ask("a")
    assert first.wait(PATIENCE)
    for _ in range(50):
        gatherer.ask("a")
    go_on.set()
    assert second.wait(PATIENCE)
    assert served[:2] == ["a", "a"]
    assert len(served) == 2


def test_different_things_are_all_served():
    served, all_of_them = set(), Event()

    def serve(thing):
        served.add(thing)
        if served == {"a", "b"}:
            all_of_them.set()

    gatherer = Gatherer(serve, lambda: 0.0)
    gatherer.ask("a")
    gatherer.ask("b")
    assert all_of_them.wait(PATIENCE)


def test_a_forked_process_serves_its_own():
    gatherer = Gatherer(lambda thing: os.write(end, thing), lambda: 0.0)
    begin, end = os.pipe()
    gatherer.ask(b"parent")
    assert os.read(begin, 100) == b"parent"
    child = os.fork()
    if child == 0:
        gatherer.ask(b"child")
        Event().wait(PATIENCE)
        os._exit(0)
    assert os.read(begin, 100) == b"child"
    os.kill(child, 9)
    os.waitpid(child, 0)


def test_jobs_are_asked_for_after_the_commit(db, nudges, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        enqueue_due(Job.PROCESS_INBOUND)
        assert nudges == []
    assert nudges == [(Job.PROCESS_INBOUND, {})]


def test_gathered_jobs_reach_the_sender(transactional_db, nudges, settings, monkeypatch):
    sent = Event()
    settings.JOB_GATHER_SECONDS = 0.001
    monkeypatch.setattr("tests.support.jobs.record", lambda job, ids: (nudges.append((job, ids)), sent.set()))
    monkeypatch.setattr(
        "segmentation.jobs._sender", lambda path: __import__("tests.support.jobs").support.jobs.record
    )
    enqueue_due(Job.PROCESS_INBOUND)
    assert sent.wait(PATIENCE)
    assert nudges == [(Job.PROCESS_INBOUND, {})]
