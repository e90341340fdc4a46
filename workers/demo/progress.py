"""Progress bars for long steps: of work done here, and of rows that a worker moves forward."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

POLL_SECONDS = 0.5


@dataclass
class Bar:
    """One step's bar; `fraction` is 0..1."""

    progress: Progress
    task: TaskID

    def update(self, fraction: float, note: str = "") -> None:
        self.progress.update(self.task, completed=min(max(fraction, 0.0), 1.0), note=note)


@dataclass
class Steps:
    """Runs named steps, shows a bar for each and remembers the seconds they took."""

    console: Console = field(default_factory=Console)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[Bar]:
        started = time.monotonic()
        columns = (
            TextColumn("{task.description:<32}"), BarColumn(bar_width=28), TaskProgressColumn(),
            TimeElapsedColumn(), TextColumn("[dim]{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=self.console, transient=not self.console.is_terminal) as progress:
            bar = Bar(progress, progress.add_task(name, total=1.0, note=""))
            yield bar
            bar.update(1.0)
        self.seconds[name] = time.monotonic() - started
        if not self.console.is_terminal:
            self.console.print(f"{name}: {self.seconds[name]:.1f} s")

    def skip(self, name: str, why: str) -> None:
        self.console.print(f"{name}: [dim]{why}")


def follow(bar: Bar, look: Callable[[], tuple[float, str, bool]], *, alive: Callable[[], None]) -> None:
    """Show `look()` → (fraction, note, over) until over; `alive` raises when the worker is gone."""
    while True:
        fraction, note, over = look()
        bar.update(fraction, note)
        if over:
            return
        alive()
        time.sleep(POLL_SECONDS)
