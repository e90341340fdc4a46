"""The processes a demo starts, and stops again whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from django.conf import settings

START_SECONDS = 60.0
STOP_SECONDS = 15.0
LOG_TAIL_BYTES = 3000


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


class Process:
    """A child in a session of its own, with its output in a log file."""

    def __init__(
        self, name: str, command: list[str], *, log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.child = subprocess.Popen(  # noqa: S603
                command,
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises DemoError with the last lines of the log when the process has ended."""
        if self.child.poll() is not None:
            raise DemoError(
                f"the {self.name} stopped by itself:\n{self.tail()}\nIts whole output is in {self.log}."
            )

    def tail(self) -> str:
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def stop(self) -> None:
        if self.child.poll() is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.child.wait()

    def kill(self) -> None:
        """kill -9 of the process and its children."""
        self._signal(signal.SIGKILL)
        self.child.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, number) if number is signal.SIGKILL else self.child.send_signal(number)


def start_worker(log: Path, environment: dict[str, str]) -> Process:
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
    return Process("worker", command, log=log, environment=environment)


def start_web(
    port: int, log: Path, environment: dict[str, str], application: str = "config.wsgi:application"
) -> Process:
    """A WSGI server on loopback; returns once it accepts connections."""
    command = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--blocking-threads", "512", "--no-ws", application,
    ]  # fmt: skip
    web = Process("web server", command, log=log, environment=environment)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        web.check()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return web
        time.sleep(0.1)
    web.stop()
    raise DemoError(f"the web server did not answer on port {port} within {START_SECONDS:.0f} s; see {log}.")


def free_port(wanted: int = 0) -> int:
    """`wanted` if nothing listens there (0: any free port). Raises DemoError naming the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise DemoError(
                f"port {wanted} is taken: stop what listens there or say PORT=another."
            ) from error
        return int(probe.getsockname()[1])
