"""Fixtures every test may use. No test reaches past this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import hypothesis
import pytest
from django.core.cache import cache

from tests.support import jobs

# Machines that run tests are shared: how long one example takes says nothing here. What fails, fails every time.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

_connect = socket.socket.connect
# Tests there start processes of their own, which have the database whether the test touches it or not.
WITH_PROCESSES = {"browser", "chaos", "flows", "workers"}
DATABASE_FIXTURES = {"db", "transactional_db", "live_server"}


def pytest_addoption(parser):
    parser.addoption(
        "--needs-database",
        action="store_true",
        help="leave out what runs alike on every database: it uses none",
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--needs-database"):
        return
    kept = [item for item in items if _needs_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _needs_database(item):
    folder = item.path.relative_to(item.config.rootpath / "tests").parts[0]
    fixtures = set(getattr(item, "fixturenames", ()))
    return folder in WITH_PROCESSES or item.get_closest_marker("django_db") or fixtures & DATABASE_FIXTURES


def _only_loopback(self, address):
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, str) and (host.startswith(("127.", "/", "\0")) or host in {"localhost", "::1"}):
        return _connect(self, address)
    if isinstance(host, bytes):
        return _connect(self, address)
    raise AssertionError(f"a test tried to reach {host}")


@pytest.fixture(autouse=True, scope="session")
def _closed_network():
    socket.socket.connect = _only_loopback
    yield
    socket.socket.connect = _connect


@pytest.fixture(autouse=True, scope="session")
def _audit_is_emptied_between_tests():
    """A flush deletes every row, which the database refuses for audit entries; it puts the guard up again itself."""
    from django.core.management.commands import flush

    from segmentation import audit_guard

    real = flush.sql_flush
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            flush,
            "sql_flush",
            lambda style, connection, **how: [
                *audit_guard.taking_down(connection.vendor),
                *real(style, connection, **how),
            ],
        )
        yield


@pytest.fixture(autouse=True)
def _unmarked():
    """The session that says that this process lives would keep the database from being dropped."""
    yield
    from segmentation import presence

    presence.leave()


@pytest.fixture(autouse=True)
def nudges(settings):
    """Jobs that code asked for, as (job, ids), instead of a broker; tests of the real broker override JOB_SENDER."""
    settings.JOB_SENDER = "tests.support.jobs.record"
    jobs.sent.clear()
    return jobs.sent


@pytest.fixture(autouse=True)
def _empty_cache():
    """What another test's shop looked like is no answer here."""
    cache.clear()


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """A busy machine's receivers are no slow ones, and what another test's took is forgotten."""
    from crm_integration import outbox

    outbox._slow.clear()
    monkeypatch.setattr(outbox, "PATIENCE", 1.0)


@pytest.fixture(autouse=True)
def _quick_passwords(settings):
    """Signing in is not what the tests measure, and a real hash takes a second."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def public_data():
    """Folder of public data sets, or a skip that says how to get it."""
    folder = os.environ.get("TIERWISE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("TIERWISE_DATA does not name a folder with the public data sets")
    return Path(folder)


@pytest.fixture
def shop(db):
    from segmentation.models import Shop

    return Shop.get()
