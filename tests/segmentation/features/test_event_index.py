import pytest
from django.db import connection

from segmentation.features import event_rows
from segmentation.models import Event

pytestmark = pytest.mark.django_db
# What decides which version of an event counts, besides the columns of the frame.
VISIBILITY = ("superseded_at", "source_id", "received_at")


@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has no columns beside the keys of an index"
)
def test_the_index_of_a_customers_events_holds_every_column_that_features_read():
    names = [*(field.name for field in event_rows.FIELDS), *VISIBILITY]
    rows = Event.objects.filter(customer__gte=1, customer__lte=9).order_by("customer_id", "occurred_at", "id")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")

    plan = rows.values_list(*names).explain()

    assert "Index Only Scan using event_by_customer_time" in plan
