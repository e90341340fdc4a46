"""Erasures beside those who write at the same moment: real transactions, real threads."""

from __future__ import annotations

from threading import Thread

import pytest
from django.db import connection, transaction

from segmentation import identities, privacy, targets
from segmentation.models import Customer, Event, PrivacyRequest, Tombstone
from tests.flows.conftest import wait_until
from tests.segmentation.ingest.test_concurrency import somebody_waits
from tests.segmentation.privacy import person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh(db, settings, tmp_path):
    settings.VAR_DIR = tmp_path
    targets.install()


def in_thread(work):
    def run():
        try:
            work()
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    return thread


def test_an_erasure_waits_for_whoever_stores_the_person_at_this_moment():
    """Without the wait neither would see the other: no tombstone yet here, no customer yet there."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets one transaction write at a time")
    row = privacy.request(privacy.Kind.ERASE, identities.SHOP, person.REFERENCE, person.EMAIL, source="test")
    with transaction.atomic():
        person.tell([person.profile()], [person.bought()])
        worker = in_thread(lambda: privacy.work(row.pk))
        wait_until(somebody_waits, seconds=30)
    worker.join()
    row.refresh_from_db()
    assert (row.state, row.is_held) == ("done", True)
    assert not Customer.objects.exists()
    assert not Event.objects.exists()


def test_who_stores_during_the_erasure_stores_nothing_about_the_person(monkeypatch):
    from segmentation.privacy import rows

    eva = person.live()
    destroy = rows.destroy_keys

    def meanwhile(keys):
        destroy(keys)
        thread = in_thread(lambda: person.tell([person.profile()], [person.bought(key="late")]))
        thread.join()

    monkeypatch.setattr(rows, "destroy_keys", meanwhile)
    privacy.erase(eva)
    assert not Customer.objects.exists()
    assert not Event.objects.exists()


def test_two_requests_about_one_person_at_once_end_both():
    eva = person.live()
    by_id = privacy.request_for(eva, privacy.Kind.ERASE, source="test")
    by_email = PrivacyRequest.objects.create(
        kind="erase", source="other door", subject=by_id.subject, subject_key="x" * 64, customers=by_id.customers
    )  # fmt: skip
    threads = [in_thread(lambda pk=row.pk: privacy.work(pk)) for row in (by_id, by_email)]
    for thread in threads:
        thread.join()
    for row in (by_id, by_email):
        row.refresh_from_db()
        if row.state == "queued":  # an attempt lost a race for a lock and comes again
            PrivacyRequest.objects.filter(pk=row.pk).update(run_after=person.AT)
            privacy.work(row.pk)
            row.refresh_from_db()
        assert row.state == "done"
    assert not Customer.objects.exists()
    assert Tombstone.objects.count() > 3


def test_one_request_is_worked_by_one_worker():
    row = privacy.request_for(person.live(), privacy.Kind.ERASE, source="test")
    threads = [in_thread(lambda: privacy.work(row.pk)) for _ in range(3)]
    for thread in threads:
        thread.join()
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("done", 1)
