"""What a measured process used: processor seconds, its own and the database server's for it, and memory."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path


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


def _server_seconds() -> float:
    from django.db import connection

    if connection.vendor == "sqlite":
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        path = Path(f"/proc/{cursor.fetchone()[0]}/stat")
    if not path.exists():
        return 0.0
    # user and system time, fields 14 and 15 of proc(5)
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
