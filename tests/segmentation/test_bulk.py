"""Bulk writes do what the ORM would, on whichever database the tests run on."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError

from segmentation import bulk, id_sets, lookups
from segmentation.features.selection import within
from segmentation.models import (
    Customer,
    CustomerFeatures,
    Membership,
    PolicyVersion,
    Segment,
    ServicePriority,
    ShopContext,
)

pytestmark = pytest.mark.django_db
SIZES = [3, bulk.COPY_FROM + 5]


def _context() -> ShopContext:
    return ShopContext.objects.create(as_of=date(2024, 1, 1), catalogue_version="1", data={})


def _features(n: int, *, as_of: date, version: int, context_id: int, byte: bytes = b"a"):
    return [(i, as_of, version, "1", context_id, byte) for i in range(1, n + 1)]


COLUMNS = ("customer_id", "as_of", "input_version", "catalogue_version", "context", "vector")


@pytest.mark.parametrize("size", SIZES)
def test_inserted_rows_are_read_back_as_given(size):
    context = _context()
    written = bulk.insert(
        CustomerFeatures, COLUMNS, _features(size, as_of=date(2024, 2, 29), version=7, context_id=context.pk)
    )
    assert written == size
    row = CustomerFeatures.objects.get(pk=size)
    assert (row.as_of, row.input_version, row.context_id, bytes(row.vector)) == (
        date(2024, 2, 29),
        7,
        context.pk,
        b"a",
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_polars_frame_is_taken_by_column_names_and_database_defaults_fill_the_rest(size):
    segment = Segment.objects.create(slug="s", name="S")
    frame = pl.DataFrame({"customer_id": range(1, size + 1), "other": 0, "segment_id": segment.pk})
    assert bulk.insert(Membership, ("segment_id", "customer_id"), frame) == size
    assert Membership.objects.filter(entered_at__isnull=False).count() == size


@pytest.mark.parametrize("size", SIZES)
def test_ignore_keeps_what_was_there_and_error_refuses(size):
    segment = Segment.objects.create(slug="s", name="S")
    Membership.objects.create(segment=segment, customer_id=2)
    rows = [(segment.pk, i) for i in range(1, size + 1)]
    with pytest.raises(IntegrityError), transaction.atomic():
        bulk.insert(Membership, ("segment", "customer"), rows)
    assert Membership.objects.count() == 1
    assert bulk.insert(Membership, ("segment", "customer"), rows, on_conflict="ignore") == size - 1
    assert Membership.objects.count() == size


@pytest.mark.parametrize("size", SIZES)
def test_update_on_conflict_lands_only_when_newer(size):
    context = _context()
    rule = bulk.Update(keys=("customer",), columns=COLUMNS[1:], newer=("as_of", "input_version"))
    write = lambda **given: bulk.insert(  # noqa: E731
        CustomerFeatures, COLUMNS, _features(size, context_id=context.pk, **given), on_conflict=rule
    )
    assert write(as_of=date(2024, 1, 2), version=5) == size
    assert write(as_of=date(2024, 1, 2), version=5, byte=b"b") == 0
    assert write(as_of=date(2024, 1, 1), version=9, byte=b"b") == 0
    assert write(as_of=date(2024, 1, 2), version=6, byte=b"c") == size
    assert bytes(CustomerFeatures.objects.get(pk=1).vector) == b"c"


@pytest.mark.parametrize("size", SIZES)
def test_an_unchanged_row_is_not_rewritten_when_only_changes_count(size):
    rule = bulk.Update(keys=("customer",), columns=("level", "rule", "since"), changed=True)
    since = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
    columns = ("customer", "level", "rule", "since", "ended_rules")
    assert (
        bulk.insert(
            ServicePriority, columns, [(i, 3, None, since, "") for i in range(1, size + 1)], on_conflict=rule
        )
        == size
    )
    rows = [(i, 4 if i == 2 else 3, None, since, "") for i in range(1, size + 1)]
    assert bulk.insert(ServicePriority, columns, rows, on_conflict=rule) == 1
    assert ServicePriority.objects.get(pk=2).level == 4
    assert ServicePriority.objects.get(pk=2).since == since


@pytest.mark.parametrize("size", SIZES)
def test_update_and_delete_touch_just_the_named_rows(size):
    Customer.objects.bulk_create([Customer(id=i, reference=f"c{i}") for i in range(1, size + 3)])
    rows = [(i, "high", 10 * i) for i in range(1, size + 1)]
    assert bulk.update(Customer, ("id", "tier", "spent_minor"), rows) == size
    assert Customer.objects.filter(tier="high").count() == size
    assert Customer.objects.get(pk=3).spent_minor == 30
    assert bulk.delete(Customer, ("id",), [(i,) for i in range(1, size + 1)]) == size
    assert sorted(Customer.objects.values_list("pk", flat=True)) == [size + 1, size + 2]


def test_json_and_nothing_at_all():
    assert bulk.insert(PolicyVersion, ("sha256", "content"), [("a", {"x": [1, None]})]) == 1
    assert PolicyVersion.objects.get().content == {"x": [1, None]}
    assert bulk.insert(PolicyVersion, ("sha256", "content"), []) == 0
    assert bulk.delete(PolicyVersion, ("sha256",), []) == 0


@pytest.mark.django_db(transaction=True)
def test_a_kept_query_that_locks_refuses_to_be_asked_outside_a_transaction():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer; there is no lock on a row")
    held = Customer.objects.select_for_update()
    Customer.objects.create(id=1, reference="c1")
    with transaction.atomic():
        assert list(lookups.values_in(held, [1], "reference", by="pk")) == [("c1",)]
    with pytest.raises(TransactionManagementError):
        list(lookups.values_in(held, [1], "reference", by="pk"))


def test_values_are_read_for_many_ids_in_parts(monkeypatch):
    monkeypatch.setattr(lookups, "IDS_A_QUERY", 2)
    Customer.objects.bulk_create([Customer(id=i, reference=f"c{i}") for i in range(1, 6)])
    rows = list(bulk.values_in(Customer.objects.all(), [1, 2, 3, 5], "id", "reference", by="id"))
    assert sorted(rows) == [(1, "c1"), (2, "c2"), (3, "c3"), (5, "c5")]


def test_a_stretch_without_rows_is_seen_at_a_glance_and_its_neighbours_are_found(django_assert_num_queries):
    Customer.objects.bulk_create([Customer(id=i, reference=f"c{i}") for i in (1, 5000)])
    ids = list(range(2, 2 + bulk.COPY_FROM))
    with django_assert_num_queries(1):
        assert list(bulk.values_in(Customer.objects.all(), ids, "id", by="id")) == []
    locked = Customer.objects.select_for_update().order_by("id")
    for rows in (Customer.objects.all(), locked):
        assert list(bulk.values_in(rows, [1, *ids], "id", by="id")) == [(1,)]


@pytest.mark.parametrize("missing", [(), (7, 600), (2, 3, 4)])
def test_a_dense_stretch_is_asked_for_by_its_holes_and_gives_exactly_the_ids(missing):
    """Rows in the holes are there, and stay out."""
    Customer.objects.bulk_create([Customer(id=i, reference=f"c{i}") for i in range(1, 1203)])
    ids = [i for i in range(1, 1201) if i not in missing]
    assert id_sets.density(ids) == id_sets.Density.DENSE
    rows = bulk.values_in(Customer.objects.all(), ids, "id", by="id")
    assert sorted(key for (key,) in rows) == ids
    where, values = within("id", ids)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM segmentation_customer WHERE {where} ORDER BY id", values)
        assert [key for (key,) in cursor.fetchall()] == ids


def test_scattered_ids_are_sent_one_by_one():
    assert id_sets.density(range(0, 10_000, 5)) == id_sets.Density.FAR
    assert id_sets.density(range(0, 10_000, 3)) == id_sets.Density.NEAR
    assert id_sets.density(["a", "b"]) == id_sets.Density.FAR
