"""A file from the browser to the queue: looked at first, refused in words, imported by a worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from segmentation import imports
from segmentation.jobs import Job
from segmentation.models import Event, ImportRun
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

# ruff: noqa: E501
CSV = b"""event_id,kind,occurred_at,customer_id,order_id,product_id,product_name,category,quantity,unit_price,discount,currency,rating,text,channel
e1,order_placed,2024-05-01 10:00:00,K1,o1,P1,Candle,Home,2,3.50,0,GBP,,,web
e2,order_placed,2024-05-02 10:00:00,K2,o2,P1,Candle,Home,1,3.50,0,GBP,,,web
"""


@pytest.fixture(autouse=True)
def _var(settings, tmp_path):
    settings.VAR_DIR = tmp_path


def html(answer):
    return answer.content.decode()


def upload(client, content=CSV, name="orders.csv", **fields):
    given = {"kind": "events", "preset": "tierwise", "mapping": "", "currency": "", "time_zone": "", **fields}
    return client.post(page("importrun_upload"), {**given, "file": SimpleUploadedFile(name, content)})


def test_a_file_is_previewed_then_queued_then_imported(
    admin_client, admin_user, nudges, django_capture_on_commit_callbacks
):
    looked = upload(admin_client)
    assert looked.status_code == 302
    text = html(admin_client.get(looked["Location"]))
    assert "Of the first 2 lines 2 would be imported as 2 events" in text
    assert not ImportRun.objects.exists()
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin_client.post(looked["Location"])
    run = ImportRun.objects.get()
    assert answer["Location"] == page("importrun_change", run.pk)
    assert run.requested_by == admin_user
    assert nudges == [(Job.IMPORT_FILE, {"import_run_id": run.pk})]
    imports.work(run.pk)
    assert Event.objects.count() == 2
    assert admin_client.get(page("importrun_progress", run.pk)).json()["over"]


def test_a_file_that_cannot_be_read_says_what_is_wrong_and_leaves_nothing(admin_client, tmp_path):
    looked = upload(admin_client, b"a,b\n1,2\n")
    answer = admin_client.get(looked["Location"], follow=True)
    assert "orders.csv" in html(answer)
    assert not ImportRun.objects.exists()
    assert not list((tmp_path / "uploads").glob("*"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "orders.pdf"}, "cannot be read"),
        ({"preset": ""}, "Choose a format or give a mapping"),
        ({"mapping": json.dumps({"columns": {}})}, "Choose a format or give a mapping"),
        ({"preset": "", "mapping": "{"}, "not valid JSON"),
        ({"content": b""}, "empty"),
    ],
)
def test_a_form_that_is_wrong_keeps_no_file(admin_client, tmp_path, fields, sentence):
    assert sentence in html(upload(admin_client, **fields))
    assert not (tmp_path / "uploads").exists()


def test_a_file_name_cannot_leave_its_folder(admin_client, tmp_path):
    upload(admin_client, name="../../evil.csv")
    kept = list(tmp_path.rglob("*.csv"))
    assert len(kept) == 1
    assert kept[0].parent.parent == tmp_path / "uploads"


@pytest.mark.parametrize("token", ["x", "0" * 32, "..", "0" * 31 + "g"])
def test_an_unknown_token_leads_back_to_the_upload(admin_client, token):
    assert admin_client.get(page("importrun_confirm", token))["Location"] == page("importrun_upload")


def test_rejected_lines_are_given_to_who_may_import(client, tmp_path):
    rejects = Path(tmp_path / "rejects.csv")
    rejects.write_text("line,reason\n")
    run = ImportRun.objects.create(kind="events", file_name="a.csv", rejects_file=str(rejects))
    client.force_login(world.person("Auditor"))
    assert client.get(page("importrun_rejects", run.pk)).status_code == 403
    client.force_login(world.person("Analyst"))
    assert b"".join(client.get(page("importrun_rejects", run.pk)).streaming_content) == b"line,reason\n"
    rejects.unlink()
    assert client.get(page("importrun_rejects", run.pk)).status_code == 404


def test_the_mapping_starts_as_an_empty_box(admin_client):
    form = admin_client.get(page("importrun_upload")).context["form"]
    assert form["mapping"].value() == ""
    assert ">null" not in str(form["mapping"])
