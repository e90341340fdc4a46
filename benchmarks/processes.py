"""Worker processes that a benchmark starts warm, lets go at one moment and collects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Workers:
    def __init__(self, module: str, count: int, arguments: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self.children = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
            )
            for _ in range(count)
        ]
        for child in self.children:
            self._line(child, "ready")

    def go(self, message: str) -> None:
        for child in self.children:
            self._tell(child, message)

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(self._line(child)) for child in self.children]

    def ask_first(self, message: str) -> dict[str, Any]:
        """Tell one of them, and wait for its answer."""
        self._tell(self.children[0], message)
        answer: dict[str, Any] = json.loads(self._line(self.children[0]))
        return answer

    def stop(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()

    def _tell(self, child: subprocess.Popen[str], message: str) -> None:
        assert child.stdin is not None
        child.stdin.write(message + "\n")
        child.stdin.flush()

    def _line(self, child: subprocess.Popen[str], expected: str = "") -> str:
        assert child.stdout is not None
        line = child.stdout.readline()
        while line and not line.startswith(expected or "{"):
            line = child.stdout.readline()  # what a library prints
        if not line:
            raise SystemExit(f"A worker ended by itself with code {child.wait()}; its reason is above.")
        return line


@contextmanager
def warm_workers(module: str, count: int, arguments: Sequence[str] = ()) -> Iterator[Workers]:
    workers = Workers(module, count, arguments)
    try:
        yield workers
    finally:
        workers.stop()


def say(line: str) -> None:
    """What a worker answers its parent."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
