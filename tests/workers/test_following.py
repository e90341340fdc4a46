"""What a job leads to is done next in the same process, and nudged where that is not possible."""

from __future__ import annotations

from threading import Thread

import pytest
from django.db import transaction

from segmentation.jobs import Job, enqueue, enqueue_due
from workers import following
from workers.celery import app


@pytest.fixture
def steps():
    """What each job does, to be filled; and which were done, with their ids."""
    done = []

    def step(job, *leads_to):
        def work(**ids):
            done.append((job, ids))
            with transaction.atomic():
                for other, more in leads_to:
                    enqueue(other, **more)

        return work

    found = {
        Job.PROCESS_INBOUND: step(Job.PROCESS_INBOUND, (Job.RESCORE_DUE, {})),
        Job.RESCORE_DUE: step(Job.RESCORE_DUE, (Job.DELIVER, {"connection_id": 1})),
        Job.DELIVER: step(Job.DELIVER),
    }
    found["step"], found["done"] = step, done
    return found


def work(steps, job=Job.PROCESS_INBOUND):
    following.work(job, steps[job], steps)


@pytest.mark.django_db(transaction=True)
def test_an_event_goes_all_the_way_in_one_process(steps, nudges):
    work(steps)
    assert steps["done"] == [
        (Job.PROCESS_INBOUND, {}),
        (Job.RESCORE_DUE, {}),
        (Job.DELIVER, {"connection_id": 1}),
    ]
    assert nudges == []


@pytest.mark.django_db(transaction=True)
def test_of_several_receivers_one_is_served_here_and_the_others_by_whoever_is_free(steps, nudges):
    both = [(Job.DELIVER, {"connection_id": key}) for key in (1, 2)]
    steps[Job.RESCORE_DUE] = steps["step"](Job.RESCORE_DUE, *both, both[0])
    work(steps, Job.RESCORE_DUE)
    assert steps["done"] == [(Job.RESCORE_DUE, {}), both[0]]
    assert nudges == [both[1]]


@pytest.mark.django_db(transaction=True)
def test_more_of_the_same_goes_through_the_broker_where_other_jobs_have_their_turn(steps, nudges):
    more = (Job.RESCORE_DUE, {})
    steps[Job.RESCORE_DUE] = steps["step"](Job.RESCORE_DUE, more, (Job.DELIVER, {"connection_id": 1}))
    work(steps, Job.RESCORE_DUE)
    assert nudges == [more]


@pytest.mark.django_db(transaction=True)
def test_another_workers_job_is_left_to_it(steps, nudges, monkeypatch):
    monkeypatch.setattr(following, "_is_ours", lambda job: job is not Job.DELIVER)
    work(steps)
    assert steps["done"] == [(Job.PROCESS_INBOUND, {}), (Job.RESCORE_DUE, {})]
    assert nudges == [(Job.DELIVER, {"connection_id": 1})]


def test_a_worker_does_what_it_takes_from_the_broker():
    assert following._is_ours(Job.DELIVER)
    before = app.amqp.queues._consume_from
    try:
        app.amqp.queues.select([name for name in app.amqp.queues if "score" in name])
        assert following._is_ours(Job.RESCORE_DUE)
        assert not following._is_ours(Job.DELIVER)
    finally:
        app.amqp.queues._consume_from = before


@pytest.mark.django_db(transaction=True)
def test_what_was_taken_is_nudged_when_the_job_fails_after_its_commit(steps, nudges):
    def fails():
        enqueue_due(Job.RESCORE_DUE)
        raise SystemExit  # a soft time limit, or the end of the process

    steps[Job.PROCESS_INBOUND] = fails
    with pytest.raises(SystemExit):
        work(steps)
    assert nudges == [(Job.RESCORE_DUE, {})]


@pytest.mark.django_db(transaction=True)
def test_a_step_that_fails_gets_a_task_of_its_own_and_fails_nothing_before_it(steps, nudges):
    def fails(**ids):
        raise ValueError("no")

    steps[Job.RESCORE_DUE] = fails
    work(steps)
    assert steps["done"] == [(Job.PROCESS_INBOUND, {})]
    assert nudges == [(Job.RESCORE_DUE, {})]


@pytest.mark.django_db(transaction=True)
def test_what_a_thread_asks_for_meanwhile_is_sent(steps, nudges):
    def answers_late():
        thread = Thread(target=enqueue, args=(Job.DELIVER,), kwargs={"connection_id": 3})
        thread.start()
        thread.join()

    steps[Job.RESCORE_DUE] = answers_late
    work(steps, Job.RESCORE_DUE)
    assert nudges == [(Job.DELIVER, {"connection_id": 3})]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_wish_leads_to_nothing(steps, nudges):
    def takes_back():
        with transaction.atomic():
            enqueue(Job.RESCORE_DUE)
            transaction.set_rollback(True)

    steps[Job.PROCESS_INBOUND] = takes_back
    work(steps)
    assert steps["done"] == nudges == []
