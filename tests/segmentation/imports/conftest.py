import gzip
from datetime import datetime
from pathlib import Path

import openpyxl
import polars as pl
import pytest

from segmentation import imports
from segmentation.models import Event, EventItem

HEADINGS = ("invoice", "stock_code", "description", "quantity", "ts", "price", "customer_id", "country")


MORNING = "2010-12-01 08:26:00"


def line(
    invoice="536365",
    code="85123A",
    quantity=6,
    ts=MORNING,
    price=2.55,
    customer=17850,
    country="United Kingdom",
):
    return (invoice, code, f"THING {code}", quantity, ts, price, customer, country)


def frame_of(rows, headings):
    return pl.DataFrame(
        [list(row) for row in rows], schema=list(headings), orient="row", infer_schema_length=None
    )


def write(path: Path, rows, headings=HEADINGS) -> Path:
    """A file in the format of its name."""
    if path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in (headings, *rows):
            book.active.append(list(row))
        book.save(path)
    elif path.suffix == ".parquet":
        frame = frame_of(rows, headings)
        if "ts" in frame.columns:
            frame = frame.with_columns(pl.col("ts").str.to_datetime("%Y-%m-%d %H:%M:%S"))
        frame.write_parquet(path)
    else:
        text = frame_of(rows, headings).write_csv()
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def rows_of_datetimes(rows):
    """The same rows with real times, as a spreadsheet has them."""
    return [
        tuple(datetime.fromisoformat(cell) if index == 4 else cell for index, cell in enumerate(row))
        for row in rows
    ]


@pytest.fixture
def run(shop, tmp_path):
    """Import a file the way the demo does; rejects go to rejects.csv in the test's folder."""

    def call(path, **options):
        options.setdefault("rejects", tmp_path / "rejects.csv")
        if "mapping" not in options:
            options.setdefault("preset", "online-retail")
        return imports.run(imports.Request(path=path, **options))

    return call


def contents():
    """Everything the domain knows of the events, without ids: equal contents mean equal imports."""
    events = Event.objects.filter(superseded_at=None).order_by("source_key", "kind")
    return [
        (
            event.customer.reference, event.kind, event.occurred_at, event.source_key, event.amount_minor,
            event.quantity, event.line_count, event.order_key,
            sorted(EventItem.objects.filter(event=event).values_list("product__external_id", "quantity", "amount_minor")),
        )
        for event in events.select_related("customer")
    ]  # fmt: skip
