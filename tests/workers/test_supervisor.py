"""What a training has started ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

from tests.support.patience import wait_until
from workers import supervisor

STARTS_ANOTHER = """
import subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(other.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_a_training_that_is_stopped_takes_its_other_ranks_along():
    child = subprocess.Popen(
        [sys.executable, "-c", STARTS_ANOTHER], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    other = int(child.stdout.readline())
    assert is_running(other)
    supervisor._stop(child)
    try:
        wait_until(lambda: not is_running(other))
    finally:
        with suppress(OSError):
            os.kill(other, 9)
        child.stdout.close()
    assert child.returncode is not None
