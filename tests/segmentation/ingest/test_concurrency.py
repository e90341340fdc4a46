"""Two workers about one customer: the later one adds to what the earlier one said."""

from __future__ import annotations

from threading import Thread

import pytest
from django.db import connection, transaction

from segmentation import contacts, ingest
from segmentation.ingest import NormalCustomer
from segmentation.models import Customer
from tests.flows.conftest import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def somebody_waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]


def test_two_workers_add_to_what_is_known_of_one_customer(shop, source, now):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets one transaction write at a time")

    def tell(**news):
        ingest.record_customers(
            [NormalCustomer("C1", **news)], namespace="shop", source=source, received_at=now, cause="test"
        )

    def second():
        try:
            tell(channel="web", phone="2")
        finally:
            connection.close()

    tell(email="ada@example.com")
    worker = Thread(target=second)
    with transaction.atomic():
        tell(country="GB", first_name="Ada")
        worker.start()
        wait_until(somebody_waits, seconds=30)
    worker.join()

    customer = Customer.objects.get()
    assert (customer.country, customer.channel) == ("GB", "web")
    contact = contacts.read(customer)
    assert (contact.first_name, contact.phone) == ("Ada", "2")
