"""Processes that can be killed: web server, workers, beat, servers. Each in a session of its own, with a log."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300.0
STOP_SECONDS = 20.0
PR_SET_PDEATHSIG = 1
TERMINATE = signal.SIGTERM


class Process:
    """One child and everything it starts."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        log: Path,
        environment: dict[str, str],
        folder: Path = ROOT,
        user: str | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._folder, self._user = folder, user
        self._command, self._environment = command, environment
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> Process:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._from = output.tell()
            self.child = subprocess.Popen(
                self._command, cwd=self._folder, env={**os.environ, **self._environment}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent,
                user=self._user, group=self._user,
            )  # fmt: skip
        return self

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def said(self, words: bytes) -> bool:
        """Whether the log has these words since the last start."""
        assert self.alive, f"the {self.name} ended:\n{self.tail()}"
        return words in self.log.read_bytes()[self._from :]

    def tail(self, size: int = 4000) -> str:
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def children(self) -> list[int]:
        """Pool children of a worker, the trainer of a pool child, and so on: direct children only."""
        return children_of(self.pid)

    def kill(self) -> None:
        """kill -9 of the whole session."""
        for pid in [self.pid, *descendants(self.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.child is not None
        self.child.wait()

    def signal(self, number: signal.Signals) -> None:
        """To the process and all it started."""
        for pid in [self.pid, *descendants(self.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number: int = TERMINATE) -> None:
        """In order, as the signal asks; killed if that takes too long."""
        if not self.alive:
            return
        assert self.child is not None
        self.child.send_signal(number)
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


def die_with_parent() -> None:
    """A harness that is killed leaves nothing behind (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def descendants(pid: int) -> list[int]:
    found = []
    for child in children_of(pid):
        found += [child, *descendants(child)]
    return found


def worker(name: str, folder: Path, environment: dict[str, str], *options: str, pool: int = 2) -> Process:
    """A worker with `pool` children and, unless told otherwise, no beat."""
    command = [
        sys.executable, "-m", "celery", "-A", "workers.celery", "worker", "--loglevel", "INFO",
        "--hostname", f"{name}@chaos", "--concurrency", str(pool), *options,
    ]  # fmt: skip
    return Process(name, command, log=folder / f"{name}.log", environment=environment)


def beat(name: str, folder: Path, environment: dict[str, str]) -> Process:
    command = [sys.executable, "-m", "celery", "-A", "workers.celery", "beat", "--loglevel", "INFO"]
    return Process(name, command, log=folder / f"{name}.log", environment=environment)


def web(folder: Path, environment: dict[str, str], port: int) -> Process:
    command = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--blocking-threads", "512", "--no-ws", "tests.chaos.web:application",
    ]  # fmt: skip
    return Process("web", command, log=folder / "web.log", environment=environment)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_for(condition: Callable[[], Any], *, seconds: float, what: str, every: float = 0.05) -> Any:
    """Poll until `condition()` is true and return its value; the only clock is the give-up time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")
