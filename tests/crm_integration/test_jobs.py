"""Jobs by message: started once, refused in words, and told outward when they are over."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from crm_integration import inbox, jobs, signatures
from crm_integration.models import InboundMessage, JobRequest, OutboundMessage
from segmentation import leases, scoring_runs, targets, training_runs
from segmentation.jobs import Job
from segmentation.models import AuditEntry, LeaseState, ScoringRun, TrainingRun
from tests.crm_integration import fixtures
from tests.crm_integration.adapters import signing
from tests.support import mini_shop

pytestmark = pytest.mark.django_db
PAGE = (Path(__file__).parents[2] / "docs" / "queues.md").read_text()


@pytest.fixture
def connection(db, shop):
    return fixtures.connection(
        "erp", may_start_jobs=True, sends_outbound=True, outbound_via="exchange",
        outbound_secret=signatures.generate_secret(),
    )  # fmt: skip


@pytest.fixture
def enough_data(monkeypatch):
    monkeypatch.setattr(training_runs, "require_enough_data", lambda *args, **options: None)


def ask(client, connection, topic, *, message_id="m-1", **data):
    answer = fixtures.deliver(client, connection, fixtures.envelope(topic, **data), message_id=message_id)
    inbox.process(answer.json()["id"])
    return InboundMessage.objects.get(dedupe_key=message_id)


def told():
    return [json.loads(bytes(row.body))["data"] for row in OutboundMessage.objects.order_by("pk")]


# --- starting
def test_a_training_is_asked_for_by_message(client, connection, enough_data):
    message = ask(client, connection, "train.requested", targets=["churn"], preset="fast", seed=7)
    run = TrainingRun.objects.get()
    assert (message.outcome, message.topic) == ("job_started", "train.requested")
    assert ([target.slug for target in run.targets.all()], run.preset, run.seed) == (["churn"], "fast", 7)
    assert JobRequest.objects.get().training_run == run
    assert AuditEntry.objects.filter(action="job.started_by_message").exists()
    assert told() == []


@pytest.fixture(autouse=True)
def _targets(shop):
    targets.install()


def test_all_active_targets_are_trained_where_none_is_named(client, connection, enough_data):
    ask(client, connection, "train.requested")
    assert TrainingRun.objects.get().targets.count() == len(targets.active())


@pytest.mark.parametrize("topic", ["classify.requested", "import.finished"])
def test_a_classification_is_asked_for_by_message(client, connection, topic):
    mini_shop.build(3)
    message = ask(client, connection, topic)
    assert message.outcome == "job_started"
    assert JobRequest.objects.get().scoring_run == ScoringRun.objects.get()


def test_a_finished_import_may_start_a_training_instead(client, connection, enough_data):
    ask(client, connection, "import.finished", then="train")
    assert TrainingRun.objects.count() == 1
    assert not ScoringRun.objects.exists()


def test_the_senders_own_topic_means_what_the_connection_says(client, connection):
    connection.job_topics = {
        "bulk.loaded": "classify.requested",
        "odd": "no such thing",
        "order.placed": ["x"],
    }
    connection.save()
    assert ask(client, connection, "bulk.loaded").outcome == "job_started"
    assert ask(client, connection, "odd", message_id="m-2").outcome == "unknown_topic"
    assert JobRequest.objects.count() == 1


def shopify_says(
    client,
    connection,
    topic,
    *,
    webhook_id,
    body=b'{"admin_graphql_api_id": "gid://shopify/BulkOperation/1"}',
):
    headers = signing.shopify(connection.inbound_secret, body, topic=topic, webhook_id=webhook_id)
    answer = client.post(f"/hooks/{connection.slug}/", body, content_type="application/json", headers=headers)
    inbox.process(answer.json()["id"])
    return InboundMessage.objects.get(pk=answer.json()["id"])


def test_a_topic_of_a_vendor_starts_a_job_once_for_what_is_signed_of_it(client, shop):
    meaning = {"bulk_operations/finish": "classify.requested"}
    row = fixtures.connection(adapter="shopify", may_start_jobs=True, job_topics=meaning)
    assert shopify_says(client, row, "bulk_operations/finish", webhook_id="a").outcome == "job_started"
    again = shopify_says(client, row, "bulk_operations/finish", webhook_id="b")
    assert (again.outcome, JobRequest.objects.count()) == ("nothing_new", 1)


def test_our_own_topics_count_for_nothing_where_the_topic_is_not_signed(client, shop):
    row = fixtures.connection(adapter="shopify", may_start_jobs=True)
    assert shopify_says(client, row, "train.requested", webhook_id="a").outcome == "unknown_topic"
    assert not JobRequest.objects.exists()


def test_the_same_message_starts_one_job_however_often_it_comes(client, connection, enough_data):
    message = ask(client, connection, "train.requested", targets=["churn"])
    ask(client, connection, "train.requested", targets=["churn"])
    training_runs.request_cancel(TrainingRun.objects.get())
    inbox.replay(message)
    inbox.process(message.pk)
    assert TrainingRun.objects.count() == 1
    message.refresh_from_db()
    assert (message.state, message.outcome) == (LeaseState.DONE, "job_started")


def test_a_worker_killed_after_the_start_does_not_start_again(client, connection, enough_data, monkeypatch):
    def dies(*args, **options):
        raise leases.LeaseLost("killed")

    with monkeypatch.context() as killed:
        killed.setattr(jobs, "_end", dies)
        message = ask(client, connection, "train.requested", targets=["churn"])
    assert message.state == LeaseState.RUNNING
    InboundMessage.objects.update(lease_until=message.received_at)
    inbox.process(message.pk)
    message.refresh_from_db()
    assert (message.state, message.outcome) == (LeaseState.DONE, "job_started")
    assert TrainingRun.objects.count() == 1


def test_two_requests_for_a_running_classification_share_it(client, connection):
    mini_shop.build(3)
    for number in range(2):
        ask(client, connection, "classify.requested", message_id=f"m-{number}")
    assert ScoringRun.objects.count() == 1
    assert JobRequest.objects.filter(scoring_run=ScoringRun.objects.get()).count() == 2


# --- refusing
def refused(client, connection, topic="train.requested", **data):
    message = ask(client, connection, topic, **data)
    assert (message.state, message.outcome) == (LeaseState.DONE, "job_refused")
    assert not TrainingRun.objects.filter(state=LeaseState.QUEUED).exists()
    [answer] = told()
    assert (answer["state"], answer["id"], answer["requested_by"]) == ("refused", None, "m-1")
    assert answer["reason"] == message.error
    return answer["reason"]


def test_without_the_permission_nothing_starts(client, connection):
    connection.may_start_jobs = False
    connection.save()
    assert "may not start jobs" in refused(client, connection)


def test_too_little_data_is_an_answer_and_no_crash(client, connection):
    assert "Not enough data" in refused(client, connection, targets=["churn"])


def test_a_run_that_is_active_is_an_answer(client, connection, enough_data):
    training_runs.request(targets.active(["churn"]))
    TrainingRun.objects.update(state=LeaseState.RUNNING)
    assert "being trained already" in refused(client, connection, targets=["churn"])


def test_a_classification_that_cannot_start_is_an_answer(client, connection, monkeypatch):
    def no(**options):
        raise scoring_runs.ScoringError("Not today.")

    monkeypatch.setattr(scoring_runs, "start", no)
    assert refused(client, connection, "classify.requested") == "Not today."


@pytest.mark.parametrize(
    "data",
    [
        {"targets": ["none"]}, {"targets": "churn"}, {"targets": [1]}, {"targets": []}, {"targets": ["churn"] * 51},
        {"preset": "huge"}, {"preset": 5}, {"seed": "x"}, {"seed": -1}, {"seed": True}, {"seed": 2**31},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_in_words(client, connection, enough_data, data):
    assert refused(client, connection, **data)


def test_a_refused_job_can_be_started_after_a_fix_under_a_new_answer(client, connection, enough_data):
    connection.may_start_jobs = False
    connection.save()
    message = ask(client, connection, "train.requested", targets=["churn"])
    connection.may_start_jobs = True
    connection.save()
    inbox.replay(message)
    inbox.process(message.pk)
    training_runs.request_cancel(TrainingRun.objects.get())
    assert jobs.tell_finished() == 1
    assert [answer["state"] for answer in told()] == ["refused", "cancelled"]
    assert OutboundMessage.objects.values("message_id").distinct().count() == 2


# --- telling
def test_the_end_of_a_classification_is_told_once_with_its_figures(
    client, connection, nudges, django_capture_on_commit_callbacks
):
    ask(client, connection, "classify.requested")
    assert jobs.tell_finished() == 0
    scoring_runs.finish(ScoringRun.objects.get().pk)
    with django_capture_on_commit_callbacks(execute=True):
        assert [jobs.tell_finished() for _time in range(3)] == [1, 0, 0]
    [answer] = told()
    assert (answer["job"], answer["state"], answer["reason"]) == ("classify", "done", None)
    assert answer["figures"]["scored"] == 0
    row = OutboundMessage.objects.get()
    assert (row.message_id, row.topic) == (f"job_{JobRequest.objects.get().pk}", "job.finished")
    assert (Job.DELIVER, {}) in nudges


def test_the_failure_of_a_training_is_told_with_its_reason(client, connection, enough_data):
    ask(client, connection, "train.requested", targets=["churn"])
    run = training_runs.claim(TrainingRun.objects.get().pk)
    assert jobs.tell_finished() == 0
    training_runs.fail(run, "Out of memory.")
    assert jobs.tell_finished() == 1
    assert [(one["state"], one["reason"]) for one in told()] == [("failed", "Out of memory.")]


def test_a_connection_that_does_not_send_is_told_nothing(client, connection):
    connection.sends_outbound = False
    connection.save()
    ask(client, connection, "classify.requested")
    scoring_runs.finish(ScoringRun.objects.get().pk)
    assert jobs.tell_finished() == 1
    assert told() == []


def test_the_sweep_tells_what_a_killed_worker_could_not(client, connection):
    from workers import sweeps

    ask(client, connection, "classify.requested")
    scoring_runs.finish(ScoringRun.objects.get().pk)
    sweeps.nudge_late_rows()
    assert [one["state"] for one in told()] == ["done"]


@pytest.mark.parametrize(
    "example",
    [
        json.loads(block)
        for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
        if "specversion" not in block
    ],
)
def test_the_documented_request_starts_a_training(client, connection, enough_data, example):
    answer = fixtures.deliver(client, connection, example)
    inbox.process(answer.json()["id"])
    assert TrainingRun.objects.get().preset == "fast"


def test_every_topic_is_documented():
    for topic in (*jobs.TOPICS, jobs.FINISHED_TOPIC):
        assert f"`{topic}" in PAGE
