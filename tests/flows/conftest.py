"""Real worker processes against the test's own database and broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


class Worker:
    """A Celery worker with beat, in a process group of its own; `kill` is kill -9 of all of it."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment, self.log = environment, log
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> Worker:
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "workers.celery",
            "worker",
            "--beat",
            "--loglevel",
            "INFO",
        ]
        with self.log.open("ab") as output:
            before = self.log.stat().st_size
            self.child = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        wait_until(
            lambda: b"ready." in self.log.read_bytes()[before:], seconds=START_SECONDS, alive=self.alive
        )
        return self

    def alive(self) -> None:
        assert self.child is not None
        assert self.child.poll() is None, f"the worker ended:\n{self.tail()}"

    def tail(self) -> str:
        return self.log.read_bytes()[-6000:].decode(errors="replace")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.child is None or self.child.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, number) if number is signal.SIGKILL else self.child.send_signal(number)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


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
