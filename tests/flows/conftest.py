"""Real worker processes against the test's own database and broker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from workers.demo import processes

# Give-up times are generous: what is asserted is that it comes, not how soon.
START_SECONDS = 300


class Worker:
    """A Celery worker with beat, as the demo starts it; `kill` is kill -9 of all of it."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment, self.log = environment, log
        self.process: processes.Process | None = None

    def start(self) -> Worker:
        self.process = processes.start_worker(self.log, self.environment)
        wait_until(lambda: b"ready." in self.log.read_bytes(), seconds=START_SECONDS, alive=self.alive)
        return self

    def alive(self) -> None:
        assert self.process is not None
        self.process.check()

    def kill_children(self) -> None:
        """kill -9 of every process the worker started: its pool, and beat."""
        assert self.process is not None
        pid = self.process.child.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()


def wait_until(condition, *, seconds, alive=lambda: None):
    """Poll until `condition()` is true and return its value; the only clock is the give-up time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        alive()
        time.sleep(0.05)
    raise AssertionError(f"nothing within {seconds} s")


def database_url():
    """The address of the database this test runs in, for another process."""
    options = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{options['NAME']}"
    return f"postgres://{options['USER']}:{options['PASSWORD']}@{options['HOST']}:{options['PORT']}/{options['NAME']}"


@pytest.fixture
def environment():
    """What another process needs to share this test's database, broker and keys."""
    return {
        "DATABASE_URL": database_url(),
        "CELERY_BROKER_URL": django_settings.CELERY_BROKER_URL,
        "CELERY_QUEUE_PREFIX": django_settings.CELERY_QUEUE_PREFIX,
        "TIERWISE_VAR": str(django_settings.VAR_DIR),
        "OMP_NUM_THREADS": "1",
        "CONCURRENCY": "2",
    }


@pytest.fixture
def worker(transactional_db, environment, tmp_path, settings):
    """A worker to start; nudges of this process go to the real broker."""
    settings.JOB_SENDER = "workers.sender.send"
    running = Worker(environment, tmp_path / "worker.log")
    yield running
    running.stop()
    _forget_queues()


def _forget_queues():
    """Queues of this process at a shared broker."""
    from workers.celery import app

    with app.connection_for_write() as broker:
        for queue in app.conf.task_queues:
            queue(broker.default_channel).delete()
