"""A segment goes with all its members, also with those that somebody is writing at the moment."""

from __future__ import annotations

from threading import Thread

import polars as pl
import pytest
from django.db import connection, transaction

from segmentation import memberships, segments
from segmentation.models import Customer, Membership, MembershipCause, PastMembership, Segment
from tests.flows.conftest import wait_until
from tests.segmentation.ingest.test_concurrency import somebody_waits

pytestmark = pytest.mark.django_db(transaction=True)


def test_deleting_a_segment_waits_for_who_writes_its_members_and_takes_them_along():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets one transaction write at a time")
    segment = Segment.objects.create(slug="s", name="S")
    customer = Customer.objects.create(reference="K-1")

    def publish(member: bool) -> None:
        frame = pl.DataFrame({"customer_id": [customer.pk], "segment.s": [member]})
        memberships.publish(frame, cause=MembershipCause.BATCH)

    def delete() -> None:
        try:
            segments.delete(segment)
        finally:
            connection.close()

    with transaction.atomic():
        publish(True)
    deleting = Thread(target=delete)
    with transaction.atomic():
        publish(False)
        publish(True)
        deleting.start()
        wait_until(somebody_waits, seconds=30)
        assert Membership.objects.exists()
    deleting.join()

    assert not Segment.objects.exists()
    assert not Membership.objects.exists()
    assert not PastMembership.objects.exists()
    with transaction.atomic():
        publish(True)
    assert not Membership.objects.exists()
