import csv

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segmentation.imports import ImportProblem
from segmentation.models import Customer, Event, EventSource, ImportRun
from tests.segmentation.imports.conftest import HEADINGS, line, write

pytestmark = pytest.mark.django_db
HEAD = ",".join(HEADINGS).encode() + b"\n"
GOOD = b"536365,85123A,THING,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"


def rejects(report):
    with report.rejects_file.open(encoding="utf-8", newline="") as file:
        return [(int(row["line"]), row["reason"], row["content"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b" \n\n", "empty"),
        ("a.csv", HEAD, "no lines"),
        ("a.parquet", HEAD + GOOD, "not Parquet"),
        ("a.xlsx", HEAD + GOOD, "not XLSX"),
        ("a.csv.gz", HEAD + GOOD, "not gzip"),
        ("a.csv.gz", b"\x1f\x8b\x08broken", "damaged"),
        ("a.parquet", b"PAR1 but broken", "damaged"),
        ("a.xlsx", b"PK\x03\x04 but broken", "damaged"),
        ("a.csv", b"%PDF-1.7 ...", "PDF"),
        ("a.csv", b'{"orders": []}', "JSON"),
        ("a.csv", b"<!doctype html>", "HTML"),
        ("a.csv", "invoice,ts\n".encode("utf-16"), "UTF-16"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
        ("a.csv", b"\x7fELF\x02\x01\x00\x00", "binary"),
        ("a.csv", b"invoice,ts,ts\n1,2,3\n", "several columns called ts"),
        ("a.csv", b"h\xe9ading,ts\n1,2\n", "not valid UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_sentence(run, tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ImportProblem, match=word):
        run(tmp_path / name)

    assert not Event.objects.exists()
    assert not Customer.objects.exists()


def test_a_missing_file_a_folder_and_an_unreadable_file_are_told_apart(run, tmp_path, monkeypatch):
    with pytest.raises(ImportProblem, match="no file"):
        run(tmp_path / "none.csv")
    with pytest.raises(ImportProblem, match="is a folder"):
        run(tmp_path)

    path = write(tmp_path / "lines.csv", [line()])
    monkeypatch.setattr(
        "pathlib.Path.open", lambda *_a, **_k: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with pytest.raises(ImportProblem, match="cannot be read: Permission denied"):
        run(path)


def test_missing_columns_are_listed_with_those_that_are_there(run, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"invoice,when,cost\n1,2,3\n")

    with pytest.raises(ImportProblem) as caught:
        run(path)

    for word in ("customer_id", "ts", "quantity", "invoice, when, cost"):
        assert word in str(caught.value)
    assert not ImportRun.objects.exists()
    assert not EventSource.objects.exists()


def test_a_zip_archive_is_not_a_workbook(run, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("lines.csv", "x")

    with pytest.raises(ImportProblem, match="unpack"):
        run(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (b"536365,85123A,THING,6,2010-12-01 08:26:00,2.55\n", "6 fields"),
        (b"536365,85123A,TH\xffNG,6,2010-12-01 08:26:00,2.55,17850,UK\n", "UTF-8"),
        (b"536365,85123A,TH\x00NG,6,2010-12-01 08:26:00,2.55,17850,UK\n", "UTF-8"),
        (b'536365,85123A,"THING,6,2010-12-01 08:26:00,2.55,17850,UK\n', "CSV"),
        (b'536365,85123A,"TH"ING",6,2010-12-01 08:26:00,2.55,17850,UK\n', "CSV"),
        (b"536365,85123A," + b"x" * 10_000_000 + b",6,2010-12-01 08:26:00,2.55,17850,UK\n", "bytes long"),
        (b"536365,85123A," + b"x" * 200_000 + b",6,2010-12-01 08:26:00,2.55,17850,UK\n", "field larger"),
        (b"536365,85123A,THING,six,2010-12-01 08:26:00,2.55,17850,UK\n", "not a number"),
        (b"536365,85123A,THING,1.5,2010-12-01 08:26:00,2.55,17850,UK\n", "whole number"),
        (b"536365,85123A,THING,0,2010-12-01 08:26:00,2.55,17850,UK\n", "quantity"),
        (b"536365,85123A,THING,,2010-12-01 08:26:00,2.55,17850,UK\n", "quantity"),
        (b"536365,85123A,THING,99999999999,2010-12-01 08:26:00,2.55,17850,UK\n", "too large"),
        (b"536365,85123A,THING,6,2010-13-01 08:26:00,2.55,17850,UK\n", "2010-13-01"),
        (b"536365,85123A,THING,6,1066-10-14 08:26:00,2.55,17850,UK\n", "before 1990"),
        (b"536365,85123A,THING,6,2999-10-14 08:26:00,2.55,17850,UK\n", "future"),
        (b"536365,85123A,THING,6,,2.55,17850,UK\n", "no date"),
        (b"536365,85123A,THING,6,2010-12-01 08:26:00,2.5.5,17850,UK\n", "price"),
        (b"536365,85123A,THING,6,2010-12-01 08:26:00,1e12,17850,UK\n", "too large"),
        (b"536365,85123A,THING,6,2010-12-01 08:26:00,2.55," + b"9" * 129 + b",UK\n", "129 characters"),
    ],
)
def test_a_bad_line_is_rejected_with_its_number_and_reason_and_the_rest_is_imported(run, tmp_path, bad, word):
    path = tmp_path / "lines.csv"
    path.write_bytes(HEAD + GOOD + bad + GOOD.replace(b"17850", b"2"))

    report = run(path)

    ((number, reason, _content),) = rejects(report)
    assert (number, report.rows_read, report.rows_imported, report.rows_rejected) == (3, 3, 2, 1)
    assert word in reason
    assert Event.objects.count() == 2


def test_a_quote_left_open_costs_its_line_and_not_the_rest_of_the_file(run, tmp_path):
    path = tmp_path / "lines.csv"
    lines = [GOOD.replace(b"17850", str(number).encode()) for number in range(3000)]
    lines[10] = b'536365,85123A,"OPEN,6,2010-12-01 08:26:00,2.55,10,UK\n'
    path.write_bytes(HEAD + b"".join(lines))

    report = run(path)

    assert [number for number, _reason, _content in rejects(report)] == [12]
    assert report.rows_imported == 2999


def test_a_quoted_line_break_is_part_of_its_field(run, tmp_path):
    path = tmp_path / "lines.csv"
    path.write_bytes(HEAD + GOOD.replace(b"THING", b'"TWO\nLINES"') + GOOD.replace(b"17850", b"2"))

    report = run(path)

    assert (report.rows_imported, report.rows_rejected) == (2, 0)


def test_a_byte_order_mark_semicolons_and_blank_lines_do_no_harm(run, tmp_path):
    path = tmp_path / "lines.csv"
    path.write_bytes(
        b"\xef\xbb\xbf" + (HEAD + GOOD + b"\n\n" + GOOD.replace(b"17850", b"2")).replace(b",", b";")
    )

    report = run(path)

    assert (report.rows_imported, report.rows_rejected) == (2, 0)


def test_rejected_cells_cannot_run_as_formulas(run, tmp_path):
    path = tmp_path / "lines.csv"
    path.write_bytes(
        HEAD + GOOD + GOOD.replace(b"536365", b"=HYPERLINK(1)").replace(b"2010-12-01 08:26:00", b"x")
    )

    report = run(path)

    ((_number, _reason, content),) = rejects(report)
    assert content.startswith("'=HYPERLINK")
    assert report.rejects_file.stat().st_mode & 0o077 == 0


def test_when_no_line_can_be_used_the_import_fails_and_says_why(run, tmp_path):
    path = write(tmp_path / "lines.csv", [line(ts="31.12.2010 08:00") for _ in range(3)])

    with pytest.raises(ImportProblem, match=r"Not one of the 3 lines.*time_format"):
        run(path)

    assert ImportRun.objects.get().state == "failed"
    assert "time_format" in ImportRun.objects.get().error


def test_a_gzip_file_that_breaks_off_says_where(run, tmp_path):
    whole = write(tmp_path / "lines.csv.gz", [line(customer=number) for number in range(5000)]).read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ImportProblem, match="breaks off somewhere after line"):
        run(tmp_path / "cut.csv.gz")


def test_units_beyond_belief_in_one_order_are_rejected_and_do_not_stop_the_import(run, tmp_path):
    rows = [line(quantity=10_000_000, price=0.01) for _ in range(215)]

    report = run(write(tmp_path / "lines.csv", [*rows, line(customer=2)]))

    assert (report.rows_imported, report.rows_rejected) == (1, 215)


def test_broken_utf8_in_parquet_costs_its_lines_alone(run, tmp_path):
    good = write(tmp_path / "good.parquet", [line(customer=number) for number in range(4)])
    table = pq.read_table(good)
    words = pa.array([b"GB", b"G\xff", b"FR", None], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 4, words.buffers())  # Arrow itself does not look
    pq.write_table(table.set_column(7, "country", broken), tmp_path / "broken.parquet")

    report = run(tmp_path / "broken.parquet")

    ((number, reason, _content),) = rejects(report)
    assert (number, report.rows_read, report.rows_imported) == (2, 4, 3)
    assert "UTF-8" in reason


def test_a_parquet_column_of_lists_is_refused_by_name_and_type(run, tmp_path):
    path = write(tmp_path / "good.parquet", [line()])
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "stock_code", pa.array([["a"]])), path)

    with pytest.raises(ImportProblem, match="stock_code.*list"):
        run(path)


def test_parquet_columns_of_other_plain_types_are_read(run, tmp_path):
    path = tmp_path / "typed.parquet"
    frame = pl.DataFrame([line()], schema=list(HEADINGS), orient="row").with_columns(
        pl.col("price").cast(pl.Decimal(10, 4)),
        pl.col("country").cast(pl.Categorical),
        pl.col("quantity").cast(pl.UInt8),
        pl.col("customer_id").cast(pl.Float64),
        pl.col("ts").str.to_datetime(time_unit="ns", time_zone="UTC"),
    )
    frame.write_parquet(path)

    run(path)

    event = Event.objects.get()
    assert (event.customer.reference, event.customer.country, event.amount_minor) == (
        "17850",
        "United Kingdom",
        1530,
    )
