import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from segmentation import imports, leases
from segmentation.imports import event_loader
from segmentation.jobs import Job
from segmentation.models import Customer, Event, EventSource, ImportRun
from tests.segmentation.imports.conftest import line, write

pytestmark = pytest.mark.django_db


def command(name, *args):
    out = io.StringIO()
    call_command(name, *map(str, args), stdout=out, stderr=out)
    return out.getvalue()


def test_import_events_ends_with_counts_and_a_sentence(shop, tmp_path):
    path = write(tmp_path / "lines.csv", [line(), line(customer=None)])

    out = command("import_events", path, "--preset", "online-retail")

    assert "of 2 lines 1 were imported" in out
    assert "1 lines without a customer" in out
    assert Event.objects.count() == 1


def test_import_customers_takes_a_mapping_file(shop, tmp_path):
    mapping = tmp_path / "map.json"
    mapping.write_text(json.dumps({"columns": {"customer": "id"}, "attributes": ["size"]}))

    out = command(
        "import_customers", write(tmp_path / "p.csv", [(1, 2)], ("id", "size")), "--mapping", mapping
    )

    assert "1 new customer," in out or "1 new customer." in out
    assert Customer.objects.get().reference == "1"


def test_a_problem_ends_the_command_with_its_sentence(shop, tmp_path):
    with pytest.raises(CommandError, match="There is no file"):
        command("import_events", tmp_path / "none.csv", "--preset", "online-retail")
    with pytest.raises(CommandError, match="no preset"):
        command("import_customers", write(tmp_path / "a.csv", [line()]), "--preset", "online-retail")


def test_a_preview_shows_every_outcome_and_writes_nothing(tmp_path, db):
    rows = [
        line(),
        line(quantity=-2),
        line(customer=None),
        line(ts="2010-99-01 08:00:00"),
        line(code="LATER"),
    ]

    out = command(
        "import_events",
        write(tmp_path / "lines.csv", rows),
        "--preset",
        "online-retail",
        "--preview",
        "--lines",
        4,
    )

    assert "Of the first 4 lines 2 would be imported as 2 events, 1 left out and 1 rejected" in out
    for word in ("order_placed", "refunded", "15.30 GBP", "without a customer", "2010-99-01"):
        assert word in out
    assert "LATER" not in out
    for model in (Event, Customer, ImportRun, EventSource):
        assert not model.objects.exists()


def test_a_preview_of_customers_writes_nothing(tmp_path, db):
    mapping = tmp_path / "map.json"
    mapping.write_text(json.dumps({"columns": {"customer": "id"}, "attributes": "all"}))
    path = write(tmp_path / "p.csv", [("C7", 2), ("", 3)], ("id", "size"))

    out = command("import_customers", path, "--mapping", mapping, "--preview")

    assert "1 would be imported and 1 rejected" in out
    assert "C7" in out
    assert not Customer.objects.exists()


def test_a_worker_carries_out_a_queued_import(shop, tmp_path, nudges, django_capture_on_commit_callbacks):
    path = write(tmp_path / "lines.csv", [line()])
    with django_capture_on_commit_callbacks(execute=True):
        row = imports.request_run(imports.Request(path, preset="online-retail"))
    assert nudges == [(Job.IMPORT_FILE, {"import_run_id": row.pk})]
    assert not Event.objects.exists()

    report = imports.work(row.pk)

    assert report.events_created == 1
    assert imports.work(row.pk) is None  # over and done
    row.refresh_from_db()
    assert (row.state, row.events_created) == ("done", 1)


def test_a_file_that_is_gone_when_the_worker_comes_is_told_on_the_row(shop, tmp_path):
    path = write(tmp_path / "lines.csv", [line()])
    row = imports.request_run(imports.Request(path, preset="online-retail"))
    path.unlink()

    imports.work(row.pk)

    row.refresh_from_db()
    assert row.state == "failed"
    assert "There is no file" in row.error


def test_an_import_that_somebody_cancels_stops_and_keeps_what_is_whole(shop, tmp_path, monkeypatch):
    from segmentation.imports import runner

    monkeypatch.setattr(runner, "RENEW_SECONDS", 0)
    path = write(tmp_path / "lines.csv", [line(customer=number) for number in range(50)])

    def cancel(share, doing):
        ImportRun.objects.update(cancel_requested=True)

    with pytest.raises(leases.Cancelled):
        imports.run(imports.Request(path, preset="online-retail"), on_progress=cancel)

    assert ImportRun.objects.get().state == "cancelled"
    assert all(event.items.count() == 1 for event in Event.objects.all())


def test_a_workers_import_that_staff_cancel_ends_as_cancelled(shop, tmp_path, monkeypatch):
    from segmentation.imports import runner

    path = write(tmp_path / "lines.csv", [line(customer=number) for number in range(50)])
    row = imports.request_run(imports.Request(path, preset="online-retail"))
    prepare = runner.plan.prepare

    def cancelled_meanwhile(*given, **options):
        assert imports.request_cancel(row)
        return prepare(*given, **options)

    monkeypatch.setattr(runner.plan, "prepare", cancelled_meanwhile)
    imports.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.error, Event.objects.count()) == ("cancelled", "", 0)


def test_an_import_that_waits_is_cancelled_at_once_and_never_begins(shop, tmp_path):
    row = imports.request_run(
        imports.Request(write(tmp_path / "lines.csv", [line()]), preset="online-retail")
    )
    assert imports.request_cancel(row)
    imports.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.rows_read, row.finished_at is None) == ("cancelled", 0, False)
    assert not imports.request_cancel(row)


def test_progress_grows_from_nothing_to_everything(shop, tmp_path):
    told = []
    path = write(tmp_path / "lines.csv", [line(customer=number) for number in range(50)])

    imports.run(
        imports.Request(path, preset="online-retail"), on_progress=lambda share, doing: told.append(share)
    )

    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_worker_waits_for_a_database_that_is_away_or_full(shop, tmp_path, monkeypatch):
    row = imports.request_run(
        imports.Request(write(tmp_path / "lines.csv", [line()]), preset="online-retail")
    )
    real = event_loader.EventLoader.load

    def full(self, lines):
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(event_loader.EventLoader, "load", full)
    with pytest.raises(OperationalError):
        imports.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.error) == ("queued", "database or disk is full")

    monkeypatch.setattr(event_loader.EventLoader, "load", real)
    ImportRun.objects.update(run_after=row.created_at)
    assert imports.work(row.pk).events_created == 1
