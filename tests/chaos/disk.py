"""A disk that can be full: a small memory file system (needs root), and a file that takes the rest of it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.chaos.servers import Unavailable

BLOCK = b"\0" * 65536


class SmallDisk:
    def __init__(self, *, megabytes: int) -> None:
        self.folder = folder = Path(tempfile.mkdtemp(prefix="chaos-disk-"))
        self._ballast = folder / "ballast"
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
        if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            raise Unavailable("a small disk to fill needs root and mount")

    def fill(self) -> None:
        """Until nothing more fits: the size of the file system is the limit, not a rule of ours."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as ballast:
            while True:
                ballast.write(BLOCK)
        with suppress(OSError), self._ballast.open("ab", buffering=0) as ballast:
            while True:
                ballast.write(b"\0")

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def stop(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True)
        with suppress(OSError):
            self.folder.rmdir()
