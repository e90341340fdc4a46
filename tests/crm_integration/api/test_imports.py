"""A file over the REST door: queued for a worker, imported once, refused in words."""

from __future__ import annotations

import io
import json
import zipfile

import openpyxl
import pytest

from segmentation import imports
from segmentation.imports import tables
from segmentation.jobs import Job
from segmentation.models import AuditEntry, Customer, Event, ImportRun
from tests.crm_integration.api import world

pytestmark = pytest.mark.django_db
KEY = {"idempotency-key": "k-1"}
COLUMNS = {"customer": "customer_id", "time": "occurred_at", "event": "event_id", "kind": "kind"}


def test_a_file_is_queued_imported_and_watched(api, nudges, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        answer = api.upload(preset="tierwise")
    assert answer.status_code == 202, answer.content
    asked = answer.json()
    assert (asked["state"], asked["kind"], asked["rows_read"]) == ("queued", "events", 0)
    assert nudges == [(Job.IMPORT_FILE, {"import_run_id": asked["id"]})]
    imports.work(asked["id"])
    done = api.get(f"/api/imports/{asked['id']}/").json()
    assert (done["state"], done["rows_imported"], done["events_created"]) == ("done", 2, 2)
    assert Event.objects.count() == 2
    assert AuditEntry.objects.get(action="api.import_started").detail["file"] == "orders.csv"


def test_customers_come_by_a_mapping_of_ones_own(api):
    file = world.orders(b"id;town\n7;Leeds\n8;York\n", "people.csv")
    mapping = {"columns": {"customer": "id"}, "attributes": ["town"]}
    asked = api.upload(file, kind="customers", mapping=json.dumps(mapping))
    assert asked.status_code == 202, asked.content
    imports.work(asked.json()["id"])
    assert Customer.objects.count() == 2


def test_the_same_request_under_a_key_is_one_import_and_another_file_a_conflict(api):
    first, again = (api.upload(preset="tierwise", headers=KEY) for _turn in range(2))
    assert (again.json(), again["Idempotency-Replayed"]) == (first.json(), "true")
    other = api.upload(world.orders(world.ORDERS.replace(b"K2", b"K3")), preset="tierwise", headers=KEY)
    assert (other.status_code, other.json()["type"]) == (409, "urn:tierwise:problem:conflict")
    assert ImportRun.objects.count() == 1


@pytest.mark.parametrize(
    ("file", "fields", "status", "says"),
    [
        (world.orders(name="orders.exe"), {"preset": "tierwise"}, 400, "Save it as CSV, Parquet or XLSX"),
        (world.orders(b""), {"preset": "tierwise"}, 400, "empty"),
        ("no file", {"preset": "tierwise"}, 400, "file"),
        (None, {"preset": "tierwise", "kind": "stars"}, 400, "stars"),
        (None, {"mapping": "{"}, 400, "JSON"),
        (None, {}, 422, "with a preset or with a mapping"),
        (None, {"preset": "nonesuch"}, 422, "nonesuch"),
        (None, {"mapping": "[{}]"}, 422, "must be a JSON object"),
        (None, {"mapping": "5"}, 422, "must be a JSON object"),
        (None, {"mapping": "[" * 100_000}, 400, "not valid JSON"),
        (None, {"mapping": '{"source": "\\ud800"}'}, 400, "not valid JSON"),
        (None, {"mapping": '{"source": "a\\u0000"}'}, 400, "not valid JSON"),
        (None, {"mapping": json.dumps({"columns": COLUMNS, "source": "s" * 65})}, 422, "at most 64"),
        (None, {"mapping": json.dumps({"columns": COLUMNS | {"customer": "who"}})}, 422, "who"),
        (None, {"preset": "tierwise", "currency": "???"}, 422, "three letters"),
        (None, {"preset": "tierwise", "time_zone": "Mars/Base"}, 422, "Mars/Base"),
        (world.orders(b"a,b\n1,2\n"), {"preset": "tierwise"}, 422, "orders.csv"),
        (world.orders(b"\x00\xff", "orders.parquet"), {"preset": "tierwise"}, 422, "orders.parquet"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_words_and_leaves_nothing(
    api, tmp_path, file, fields, status, says
):
    answer = api.upload(file, **fields)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json"), (
        answer.content
    )
    assert says in answer.content.decode()
    assert not ImportRun.objects.exists()
    assert not list((tmp_path / "uploads").glob("*"))


def test_a_file_comes_in_a_form_alone(api):
    assert api.post("/api/imports/", {"preset": "tierwise"}).status_code == 415
    broken = api.post("/api/imports/", b"--x\r\nnothing", content_type="multipart/form-data; boundary=")
    assert (broken.status_code, broken["Content-Type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_a_damaged_workbook_is_refused_and_not_kept(api, tmp_path, part):
    answer = api.upload(world.orders(workbook(without_half_of=part), "orders.xlsx"), preset="tierwise")
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert "damaged XLSX" in answer.json()["detail"]
    assert not list((tmp_path / "uploads").glob("*"))


def test_a_workbook_that_unpacks_to_more_than_memory_holds_is_refused(api, monkeypatch):
    monkeypatch.setattr(tables, "MOST_UNPACKED", 1000)
    answer = api.upload(world.orders(workbook(), "orders.xlsx"), preset="tierwise")
    assert (answer.status_code, "too large" in answer.json()["detail"]) == (422, True)


def workbook(*, without_half_of=""):
    book, made, broken = openpyxl.Workbook(), io.BytesIO(), io.BytesIO()
    book.active.append(["a", "b"])
    book.save(made)
    with zipfile.ZipFile(made) as whole, zipfile.ZipFile(broken, "w") as cut:
        for name in whole.namelist():
            content = whole.read(name)
            cut.writestr(name, content[: len(content) // 2] if name == without_half_of else content)
    return broken.getvalue()


def test_text_that_is_none_is_refused(api):
    form = b'--x\r\nContent-Disposition: form-data; name="preset"\r\n\r\n+2AA-\r\n--x--\r\n'
    answer = api.post("/api/imports/", form, content_type="multipart/form-data; boundary=x; charset=utf-7")
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")


def test_a_failure_keeps_neither_file_nor_run(api, tmp_path, monkeypatch):
    def fails(*_args, **_more):
        raise RuntimeError

    monkeypatch.setattr(AuditEntry, "record", fails)
    assert api.upload(preset="tierwise").status_code == 500
    assert not ImportRun.objects.exists()
    assert not list((tmp_path / "uploads").glob("*"))
