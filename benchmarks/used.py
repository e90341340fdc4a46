"""What a measured process used: processor seconds, its own and the database server's for it, and memory."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Used:
    """Processor seconds of this process and of the database server's process that serves it (0 where unseen)."""

    cpu: float
    server_cpu: float

    @classmethod
    def now(cls) -> Used:
        times = os.times()
        return cls(times.user + times.system, _server_seconds())

    def since(self) -> dict[str, float]:
        now = Used.now()
        return {"cpu": now.cpu - self.cpu, "server_cpu": now.server_cpu - self.server_cpu}


def measured(work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Do the work of a worker process: what it returns beside its seconds, by stage too, and its memory."""
    from segmentation.stages import recording

    started, used = time.perf_counter(), Used.now()
    with recording() as seconds, Memory() as memory:
        done = work()
    busy = time.perf_counter() - started
    return {
        **done,
        "busy": busy,
        "rss_mib": peak_mib(),
        "rss_by_tenth_mib": memory.by_tenth(),
        "stages": dict(seconds),
        **used.since(),
    }


def _server_seconds() -> float:
    from django.db import connection

    if connection.vendor == "sqlite":
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        path = Path(f"/proc/{cursor.fetchone()[0]}/stat")
    if not path.exists():
        return 0.0
    return _processor_seconds(path)


def _processor_seconds(path: Path) -> float:
    # user and system time, fields 14 and 15 of proc(5)
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def group_seconds(group: int) -> float:
    """Processor seconds of all processes that live in a process group (0 where they cannot be seen)."""
    seconds = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            if int(path.read_text().rpartition(")")[2].split()[2]) == group:
                seconds += _processor_seconds(path)
    return seconds


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Memory:
    """This process's resident memory in MiB, looked at a few times a second while it is open."""

    def __enter__(self) -> Memory:
        self.seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def peak(self) -> float:
        return max(self.seen)

    def by_tenth(self) -> list[float]:
        """The most in each tenth of the time."""
        size = max(len(self.seen) // 10, 1)
        return [max(self.seen[start : start + size]) for start in range(0, len(self.seen), size)][:10]

    def _look(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._stop.is_set():
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
            self.seen.append(resident / 2**20)
            time.sleep(0.2)
