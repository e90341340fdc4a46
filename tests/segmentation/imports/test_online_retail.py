from datetime import UTC, datetime

import pytest

from segmentation.imports import runner as running
from segmentation.imports import staging
from segmentation.kinds import EventKind
from segmentation.models import Customer, CustomerIdentity, DueCustomer, Event, EventItem, ImportRun, Product
from tests.segmentation.imports.conftest import contents, line, rows_of_datetimes, write

pytestmark = pytest.mark.django_db
FORMATS = ("lines.csv", "lines.csv.gz", "lines.parquet", "lines.xlsx")
ROWS = [
    line(),
    line(code="71053", quantity=2, price=3.39),
    line(code="71053", quantity=2, price=3.39),  # exactly repeated, and real
    line(invoice="536366", ts="2010-12-01 08:28:00", code="22633", price=1.85),
    line(invoice="C536379", ts="2010-12-02 09:41:00", code="85123A", quantity=-1),
    line(
        invoice="536370", customer=12583, country="France", ts="2010-12-01 08:45:00", price=3.75, quantity=24
    ),
    line(invoice="536371", customer=None),
    line(invoice="536372", price=0.0),
]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_events(run, tmp_path, name):
    rows = rows_of_datetimes(ROWS) if name.endswith("xlsx") else ROWS

    report = run(write(tmp_path / name, rows))

    assert (report.rows_read, report.rows_imported, report.rows_rejected) == (8, 6, 0)
    assert report.skipped == {"no_customer": 1, "free_line": 1}
    assert [(row[0], row[1], row[4], row[5], row[6]) for row in contents()] == [
        ("12583", EventKind.ORDER_PLACED, 9000, 24, 1),
        ("17850", EventKind.ORDER_PLACED, 1530 + 678 * 2, 10, 3),
        ("17850", EventKind.ORDER_PLACED, 1110, 6, 1),
        ("17850", EventKind.REFUNDED, 255, 1, 1),
    ]


def test_lines_become_items_and_products_customers_and_their_country(run, tmp_path):
    run(write(tmp_path / "lines.csv", ROWS))

    assert EventItem.objects.count() == 6
    product = Product.objects.get(external_id="85123A")
    assert (product.name, product.first_seen_at) == ("THING 85123A", datetime(2010, 12, 1, 8, 26, tzinfo=UTC))
    assert dict(Customer.objects.values_list("reference", "country")) == {
        "17850": "United Kingdom",
        "12583": "France",
    }
    assert CustomerIdentity.objects.get(namespace="shop", value="17850").customer.reference == "17850"


def test_local_times_are_of_london_in_summer_too(run, tmp_path):
    run(write(tmp_path / "lines.csv", [line(ts="2011-07-01 08:26:00")]))

    assert Event.objects.get().occurred_at == datetime(2011, 7, 1, 7, 26, tzinfo=UTC)


def test_an_order_is_one_customer_time_and_sign_whatever_the_invoice(run, tmp_path):
    rows = [line(invoice="1"), line(invoice="2"), line(invoice=None), line(invoice=None, quantity=-3)]

    run(write(tmp_path / "lines.csv", rows))

    assert [(kind, lines) for _c, kind, _t, _k, _a, _q, lines, _o, _i in contents()] == [
        (EventKind.ORDER_PLACED, 3),
        (EventKind.REFUNDED, 1),
    ]


def test_lines_of_one_order_meet_wherever_they_stand_in_the_file(run, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "ROWS_A_CHUNK", 2)
    monkeypatch.setattr(staging, "LINES_A_PART", 3)
    rows = [line(code=f"P{n % 7}", customer=n % 3, quantity=n + 1) for n in range(30)]

    run(write(tmp_path / "lines.csv", rows))

    assert sorted((row[0], row[6]) for row in contents()) == [("0", 10), ("1", 10), ("2", 10)]


def test_importing_twice_adds_nothing(run, tmp_path):
    path = write(tmp_path / "lines.csv", ROWS)
    run(path)
    before, versions = contents(), list(Customer.objects.values_list("input_version", flat=True))

    report = run(path)

    assert (report.rows_imported, report.rows_repeated, report.events_created) == (0, 6, 0)
    assert contents() == before
    assert list(Customer.objects.values_list("input_version", flat=True)) == versions


def test_the_same_lines_in_another_format_and_order_add_nothing(run, tmp_path):
    run(write(tmp_path / "lines.csv", ROWS))
    before = contents()

    report = run(write(tmp_path / "lines.parquet", ROWS[::-1]))

    assert report.rows_imported == 0
    assert contents() == before


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_a_file_cut_in_two_anywhere_gives_what_one_file_gives(run, tmp_path, cut):
    run(write(tmp_path / "whole.csv", ROWS), source="whole")
    whole = contents()
    Event.objects.all().delete()
    run(write(tmp_path / "first.csv", ROWS[:cut]))

    run(write(tmp_path / "second.csv", ROWS[cut - 1 :]))  # one line overlaps, and is the same line

    assert contents() == whole


def test_a_longer_export_replaces_the_shorter_order_by_a_new_version(run, tmp_path):
    run(
        write(
            tmp_path / "short.csv",
            [line(), line(invoice=None, code=None, price=1.0, ts="2010-12-01 08:26:00")],
        )
    )

    run(write(tmp_path / "long.csv", [line(), line(), line(code="NEW", price=9.99, quantity=1)]))

    old, new = Event.objects.order_by("source_version")
    assert old.superseded_at is not None
    assert (new.source_version, new.line_count, new.quantity) == (1, 4, 6 * 3 + 1)
    assert new.amount_minor == 1530 * 2 + 600 + 999
    assert new.items.count() == 4


def test_an_interrupted_import_run_again_equals_a_clean_one(run, tmp_path, monkeypatch):
    from segmentation.imports import event_loader

    monkeypatch.setitem(event_loader.LINES_A_PIECE, "sqlite", 2)
    monkeypatch.setitem(event_loader.LINES_A_PIECE, "postgresql", 2)
    path = write(tmp_path / "lines.csv", [line(customer=n, quantity=n + 1) for n in range(10)])
    insert, calls = event_loader.bulk.insert, []

    def dies_in_the_middle(model, *args, **kwargs):
        calls.append(model)
        if model is EventItem and calls.count(EventItem) == 3:
            raise RuntimeError("power cut")
        return insert(model, *args, **kwargs)

    monkeypatch.setattr(event_loader.bulk, "insert", dies_in_the_middle)
    with pytest.raises(RuntimeError):
        run(path)
    stored = Event.objects.count()
    assert 0 < stored < 10
    assert all(event.items.count() == 1 for event in Event.objects.all())  # whole or not at all
    assert ImportRun.objects.get().state == "failed"
    assert ImportRun.objects.get().error == "power cut"

    monkeypatch.setattr(event_loader.bulk, "insert", insert)
    report = run(path)

    assert (report.events_created, report.rows_repeated) == (10 - stored, stored)
    again = contents()
    Event.objects.all().delete()
    run(path, source="clean")
    assert contents() == again


def test_the_run_row_tells_how_it_went(run, tmp_path):
    report = run(write(tmp_path / "lines.csv", [*ROWS, line(ts="yesterday")]))

    row = ImportRun.objects.get()
    assert (row.state, row.progress, row.kind, row.source.slug) == ("done", 1.0, "events", "online-retail")
    assert (row.rows_read, row.rows_imported, row.rows_skipped, row.rows_rejected) == (9, 6, 2, 1)
    assert (row.events_created, row.customers_created) == (4, 2)
    assert len(row.file_sha256) == 64
    assert row.rejects_file == str(report.rejects_file)
    assert row.rows_read == row.rows_imported + row.rows_repeated + row.rows_skipped + row.rows_rejected


def test_a_few_customers_are_marked_due_and_many_wait_for_the_next_classification(run, tmp_path, monkeypatch):
    run(write(tmp_path / "few.csv", ROWS))
    assert DueCustomer.objects.count() == 2

    monkeypatch.setattr(running, "MOST_DUE", 1)
    run(write(tmp_path / "many.csv", [line(customer=customer) for customer in (5, 6)]))
    assert DueCustomer.objects.count() == 2
    assert set(Customer.objects.filter(reference__in=("5", "6")).values_list("input_version", flat=True)) == {
        1
    }


def test_customer_ids_that_a_spreadsheet_made_decimal_are_the_same_customers(run, tmp_path):
    run(
        write(
            tmp_path / "lines.csv",
            [line(customer="17850.0"), line(customer="17850", ts="2010-12-03 08:00:00")],
        )
    )

    assert Customer.objects.get().reference == "17850"


def test_the_headings_of_the_public_copies_are_known_too(run, tmp_path):
    headings = (
        "Invoice",
        "StockCode",
        "Description",
        "Quantity",
        "InvoiceDate",
        "Price",
        "Customer ID",
        "Country",
    )
    run(write(tmp_path / "lines.csv", [line(ts="12/1/2010 8:26")], headings))

    assert Event.objects.get().occurred_at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
