"""What a lost message left behind is found in the rows and nudged again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.db import connection as database
from django.db.models.functions import Now

from crm_integration.models import Connection, InboundMessage, OutboundMessage
from segmentation.jobs import Job
from segmentation.models import (
    Customer,
    DueCustomer,
    ImportRun,
    LeaseState,
    PrivacyRequest,
    ScoringRun,
    ScoringShard,
    Shop,
    ShopContext,
    TrainingRun,
)
from workers import sweeps

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = Now() - timedelta(hours=1)


@pytest.fixture
def connection():
    return Connection.objects.create(
        slug="shop", name="Shop", sends_outbound=True, outbound_url="https://crm.example/decisions"
    )


@pytest.fixture
def run():
    context = ShopContext.objects.create(as_of=date(2026, 1, 1), catalogue_version="1", data={})
    return ScoringRun.objects.create(as_of=date(2026, 1, 1), context=context)


def shard(run, **fields):
    return ScoringShard.objects.create(run=run, number=1, first_id=1, last_id=9, **fields)


def test_with_nothing_late_nothing_is_nudged(nudges):
    sweeps.nudge_late_rows()
    assert nudges == []


def test_received_messages_that_nobody_took_are_one_nudge(nudges, connection):
    for key in "123":
        InboundMessage.objects.create(
            connection=connection, dedupe_key=key, body=b"{}", body_sha256="0", run_after=LONG_AGO
        )
    sweeps.nudge_late_rows()
    assert nudges == [(Job.PROCESS_INBOUND, {})]


def test_a_delivery_that_is_due_is_nudged(nudges, connection):
    OutboundMessage.objects.create(
        connection=connection, message_id="1", topic="t", body=b"{}", run_after=LONG_AGO
    )
    sweeps.nudge_late_rows()
    assert (Job.DELIVER, {"connection_id": connection.pk}) in nudges


def test_a_privacy_request_that_nobody_took_is_nudged(nudges):
    row = PrivacyRequest.objects.create(kind="erase", source="test", run_after=LONG_AGO)
    sweeps.nudge_late_rows()
    assert nudges == [(Job.PRIVACY, {"request_id": row.pk})]


def test_a_customer_that_is_due_is_nudged(nudges):
    customer = Customer.objects.create(reference="C1")
    DueCustomer.objects.create(customer=customer, run_after=LONG_AGO)
    sweeps.nudge_late_rows()
    assert (Job.RESCORE_DUE, {}) in nudges


def test_shards_that_wait_their_turn_are_not_nudged_at_every_sweep(nudges, run):
    shard(run, state=LeaseState.RUNNING, lease_until=Now() + timedelta(minutes=1))
    ScoringShard.objects.create(run=run, number=2, first_id=10, last_id=19, run_after=LONG_AGO)
    sweeps.nudge_late_rows()
    assert nudges == []


def test_when_nobody_works_on_a_run_its_waiting_shards_are_nudged(nudges, run):
    for number in (2, 3):
        ScoringShard.objects.create(run=run, number=number, first_id=1, last_id=9, run_after=LONG_AGO)
    sweeps.nudge_late_rows()
    assert nudges == [(Job.RUN_SHARD, {"run_id": run.pk})] * 2


def test_a_shard_whose_worker_died_is_nudged(nudges, run):
    shard(run, state=LeaseState.RUNNING, lease_until=LONG_AGO)
    sweeps.nudge_late_rows()
    assert (Job.RUN_SHARD, {"run_id": run.pk}) in nudges


def test_a_shard_that_a_worker_holds_is_left_alone(nudges, run):
    shard(run, state=LeaseState.RUNNING, lease_until=Now() + timedelta(minutes=1))
    sweeps.nudge_late_rows()
    assert nudges == []


def test_a_run_whose_shards_are_done_is_finished(nudges, run):
    shard(run, state=LeaseState.DONE)
    sweeps.nudge_late_rows()
    assert (Job.FINISH_SCORING_RUN, {"run_id": run.pk}) in nudges


@pytest.mark.parametrize(
    ("model", "job", "key", "fields"),
    [
        (TrainingRun, Job.RUN_TRAINING, "run_id", {}),
        (ImportRun, Job.IMPORT_FILE, "import_run_id", {"kind": "events", "file_name": "orders.csv"}),
    ],
)
def test_long_work_that_nobody_holds_is_nudged(nudges, model, job, key, fields):
    row = model.objects.create(state=LeaseState.RUNNING, lease_until=LONG_AGO, **fields)
    sweeps.nudge_late_rows()
    assert (job, {key: row.pk}) in nudges


def test_only_one_of_many_beats_starts_a_period():
    assert sweeps.first_this_period(Job.NIGHTLY, "2026-01-01")
    assert not sweeps.first_this_period(Job.NIGHTLY, "2026-01-01")
    assert sweeps.first_this_period(Job.NIGHTLY, "2026-01-02")


@pytest.fixture
def starts(monkeypatch):
    started = []
    monkeypatch.setattr(sweeps.scoring_runs, "start", lambda: started.append(1))
    return started


@pytest.mark.parametrize(("hour", "expected"), [(0, 0), (1, 1), (22, 1), (23, 0)])
def test_the_night_begins_at_two_in_the_shops_time_zone(starts, hour, expected):
    Shop.objects.update_or_create(pk=1, defaults={"time_zone": "Europe/Paris"})
    with time_machine.travel(datetime(2026, 1, 5, hour, 30, tzinfo=UTC)):
        sweeps.start_nightly_classification()
        sweeps.start_nightly_classification()
    assert len(starts) == expected


def test_a_night_that_could_not_start_is_not_ticked_off(starts, monkeypatch):
    def killed():
        raise ConnectionError

    with time_machine.travel(datetime(2026, 1, 5, 12, tzinfo=UTC)):
        with monkeypatch.context() as broken:
            broken.setattr(sweeps.scoring_runs, "start", killed)
            with pytest.raises(ConnectionError):
                sweeps.start_nightly_classification()
        sweeps.start_nightly_classification()
    assert starts == [1]


def test_dividing_the_customers_holds_no_transaction_open(starts, monkeypatch):
    inside = []
    monkeypatch.setattr(sweeps.scoring_runs, "start", lambda: inside.append(database.in_atomic_block))
    with time_machine.travel(datetime(2026, 1, 5, 12, tzinfo=UTC)):
        sweeps.start_nightly_classification()
    assert inside == [False]


def test_a_shop_whose_clock_stands_still_is_not_classified_nightly(starts):
    Shop.objects.update_or_create(pk=1, defaults={"frozen_on": date(2011, 12, 9)})
    with time_machine.travel(datetime(2026, 1, 5, 12, tzinfo=UTC)):
        sweeps.start_nightly_classification()
    assert starts == []
