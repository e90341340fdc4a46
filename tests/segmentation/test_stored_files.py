"""A file that one machine took is read on another, whose data folder stands elsewhere."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from segmentation import crypto, retention, stored_files
from segmentation.models import StoredFileChunk

pytestmark = pytest.mark.django_db
CONTENT = bytes(range(256)) * 5000  # more than one piece

several_machines = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite means one machine, whose disk its processes share"
)


@pytest.fixture
def machines(settings, tmp_path):
    """A function that goes to a machine by name and returns its data folder."""

    def go(name):
        settings.VAR_DIR = tmp_path / name
        settings.VAR_DIR.mkdir(exist_ok=True)
        return settings.VAR_DIR

    return go


def taken(folder):
    path = folder / "uploads" / "abc" / "orders.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    stored_files.keep(path)
    return stored_files.reference(path)


@several_machines
def test_another_machine_gets_the_same_bytes_for_its_owner_alone(machines):
    named = taken(machines("web"))
    there = machines("worker")
    path = stored_files.located(named)
    assert path == there / "uploads" / "abc" / "orders.csv"
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o077 == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["orders.csv"]


@several_machines
def test_what_is_stored_cannot_be_read_without_the_key_and_follows_a_new_one(machines, settings):
    named = taken(machines("web"))
    assert not any(CONTENT[:64] in bytes(chunk.content) for chunk in StoredFileChunk.objects.all())
    fresh = crypto.Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [fresh, *settings.FIELD_ENCRYPTION_KEYS]
    call_command("rotate_keys")
    settings.FIELD_ENCRYPTION_KEYS = [fresh]
    machines("worker")
    assert stored_files.located(named).read_bytes() == CONTENT


@several_machines
def test_a_file_kept_again_replaces_what_was_stored(machines):
    folder = machines("web")
    named = taken(folder)
    path = folder / "uploads" / "abc" / "orders.csv"
    path.write_bytes(b"short")
    stored_files.keep(path)
    machines("worker")
    assert stored_files.located(named).read_bytes() == b"short"


@several_machines
def test_stored_files_go_with_their_retention_or_when_forgotten(machines):
    folder = machines("web")
    taken(folder)
    stored_files.forget(folder / "uploads" / "abc")
    assert not StoredFileChunk.objects.exists()
    stored_files.keep(folder / "uploads" / "abc" / "orders.csv")
    StoredFileChunk.objects.update(created_at=timezone.now() - timedelta(days=8))
    retention.prune_files(days=7)
    assert not StoredFileChunk.objects.exists()


def test_one_machine_keeps_one_copy(machines):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite means one machine")
    named = taken(machines("web"))
    assert not StoredFileChunk.objects.exists()
    assert stored_files.located(named).read_bytes() == CONTENT


def test_a_file_nobody_has_is_not_there_and_a_name_cannot_leave_the_folder(machines, tmp_path):
    machines("web")
    assert not stored_files.located("var:uploads/none/orders.csv").exists()
    (tmp_path / "secret").write_text("x")
    with pytest.raises(ValueError, match="leads out"):
        stored_files.located("var:../secret")


def test_a_path_outside_the_data_folder_is_named_as_it_is(machines, tmp_path):
    machines("web")
    assert stored_files.reference(tmp_path / "orders.csv") == str((tmp_path / "orders.csv").resolve())
    assert stored_files.located("/data/orders.csv").as_posix() == "/data/orders.csv"
