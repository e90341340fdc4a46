"""A claimed row belongs to one worker at a time, and a lost claim comes back."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from segmentation import leases
from segmentation.models import DueCustomer, ImportRun, LeaseState

pytestmark = pytest.mark.django_db

LEASE = timedelta(seconds=60)


def new_row(**fields):
    return ImportRun.objects.create(kind="events", file_name="orders.csv", **fields)


def claim_one():
    rows = leases.claim(ImportRun.objects.all(), lease=LEASE)
    return rows[0] if rows else None


def lapse(row):
    ImportRun.objects.filter(pk=row.pk).update(lease_until=Now() - timedelta(seconds=1))


def test_a_waiting_row_is_claimed_once():
    new_row()
    assert claim_one().state == LeaseState.RUNNING
    assert claim_one() is None


def test_rows_are_claimed_oldest_first_and_up_to_the_limit():
    keys = [new_row().pk for _ in range(3)]
    assert [row.pk for row in leases.claim(ImportRun.objects.all(), lease=LEASE, limit=2)] == keys[:2]


def test_a_row_that_must_wait_is_left_alone():
    new_row(run_after=Now() + timedelta(hours=1))
    assert claim_one() is None


def test_a_lease_that_ran_out_is_claimed_again_with_a_higher_fence():
    new_row()
    first = claim_one()
    lapse(first)
    second = claim_one()
    assert second.pk == first.pk
    assert second.fence > first.fence
    assert second.attempts == 2


def test_whoever_lost_the_lease_can_write_nothing():
    new_row()
    first = claim_one()
    lapse(first)
    second = claim_one()
    for write in (
        lambda: leases.renew(first, lease=LEASE, progress=0.9),
        lambda: leases.guard(first),
        lambda: leases.finish(first),
        lambda: leases.fail(first, "no"),
        lambda: leases.retry(first, after=LEASE, error="no"),
    ):
        with pytest.raises(leases.LeaseLost):
            write()
    second.refresh_from_db()
    assert (second.state, second.progress, second.error) == (LeaseState.RUNNING, 0, "")


def test_renewing_records_progress():
    new_row()
    row = claim_one()
    leases.renew(row, lease=LEASE, progress=0.5, note="half")
    row.refresh_from_db()
    assert (row.progress, row.progress_note) == (0.5, "half")


def test_a_cancel_reaches_the_worker_at_its_next_renewal():
    new_row()
    row = claim_one()
    ImportRun.objects.filter(pk=row.pk).update(cancel_requested=True)
    with pytest.raises(leases.Cancelled):
        leases.renew(row, lease=LEASE)


def test_a_retry_waits_and_says_why():
    new_row()
    row = claim_one()
    leases.retry(row, after=timedelta(minutes=5), error="the server did not answer")
    row.refresh_from_db()
    assert (row.state, row.error) == (LeaseState.QUEUED, "the server did not answer")
    assert claim_one() is None


def test_a_row_that_kills_its_workers_is_parked_while_others_go_on():
    poison, good = new_row(), new_row()
    for _ in range(leases.MAX_ATTEMPTS):
        claimed = leases.claim(ImportRun.objects.filter(pk=poison.pk), lease=LEASE)[0]
        lapse(claimed)
    assert claim_one().pk == good.pk
    poison.refresh_from_db()
    assert poison.state == LeaseState.FAILED
    assert "3 attempts" in poison.error


def test_a_finished_row_is_over():
    new_row()
    row = claim_one()
    leases.finish(row, rows_read=7)
    assert row.is_over
    assert (row.progress, row.rows_read) == (1.0, 7)
    assert claim_one() is None


def test_looking_for_work_when_there_is_none_only_reads(django_assert_num_queries):
    with django_assert_num_queries(1):
        assert leases.claim(DueCustomer.objects.all(), lease=LEASE) == []


def test_prolonging_keeps_the_claims_that_still_stand():
    new_row(), new_row()
    kept, lost = leases.claim(ImportRun.objects.all(), lease=LEASE, limit=2)
    ImportRun.objects.update(lease_until=Now() - timedelta(seconds=1))
    ImportRun.objects.filter(pk=lost.pk).update(fence=lost.fence + 1)
    leases.prolong([kept, lost], lease=LEASE)
    assert [row.pk for row in leases.claimable(ImportRun.objects.all())] == [lost.pk]


@pytest.mark.django_db(transaction=True)
def test_work_that_outlasts_its_lease_keeps_the_claim():
    new_row()
    row = leases.claim(ImportRun.objects.all(), lease=LEASE)[0]
    lapse(row)
    deadline = time.monotonic() + 20
    with leases.kept([row], lease=timedelta(seconds=0.3)):
        while leases.claimable(ImportRun.objects.all()).exists():
            assert time.monotonic() < deadline, "nobody prolonged the claim"
    leases.finish(row)


@pytest.mark.django_db(transaction=True)
def test_prolonging_does_not_wait_for_rows_that_are_being_written():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer; there is no lock on a row")
    new_row()
    row = leases.claim(ImportRun.objects.all(), lease=LEASE)[0]
    lapse(row)
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {ImportRun._meta.db_table} FOR UPDATE")
        leases.prolong([row], lease=LEASE)
        other.rollback()
    finally:
        other.close()
    assert leases.claimable(ImportRun.objects.all()).exists()


def test_of_several_rows_those_still_held_are_finished_together():
    new_row(), new_row(), new_row()
    rows = leases.claim(ImportRun.objects.all(), lease=LEASE, limit=3)
    ImportRun.objects.filter(pk=rows[1].pk).update(fence=99)
    with transaction.atomic():
        held = leases.guarded(rows)
        leases.finish_all(held, [{"progress_note": str(row.pk)} for row in held])
    assert held == [rows[0], rows[2]]
    found = ImportRun.objects.in_bulk()
    assert [found[row.pk].state for row in rows] == ["done", "running", "done"]
    assert found[rows[2].pk].progress_note == str(rows[2].pk) == rows[2].progress_note
    assert found[rows[0].pk].finished_at is not None
    assert found[rows[0].pk].lease_until is None


def test_a_row_whose_turn_did_not_come_is_given_back_untried():
    new_row()
    row = claim_one()
    leases.release([row])
    found = ImportRun.objects.get()
    assert (found.state, found.attempts, found.lease_until) == ("queued", 0, None)
    again = claim_one()
    leases.release([row])
    assert again.fence > row.fence
    assert ImportRun.objects.get().state == "running", "it belongs to another worker now"
