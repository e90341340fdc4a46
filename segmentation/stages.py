"""Where the seconds of a classification go. `@stage("read")` on a function costs two readings of the clock, and
nothing while nobody records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter


@dataclass
class _Clock:
    """seconds: by stage, without what stages inside it took. inner: for each open stage, seconds of those inside."""

    seconds: dict[str, float] = field(default_factory=dict)
    inner: list[float] = field(default_factory=lambda: [0.0])


_clock: ContextVar[_Clock | None] = ContextVar("stages", default=None)


@contextmanager
def recording() -> Iterator[dict[str, float]]:
    """Seconds by stage of what runs in this block and thread; filled as stages end."""
    clock = _Clock()
    token = _clock.set(clock)
    try:
        yield clock.seconds
    finally:
        _clock.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count this block or function under a stage."""
    clock = _clock.get()
    if clock is None:
        yield
        return
    started = perf_counter()
    clock.inner.append(0.0)
    try:
        yield
    finally:
        elapsed = perf_counter() - started
        clock.seconds[name] = clock.seconds.get(name, 0.0) + elapsed - clock.inner.pop()
        clock.inner[-1] += elapsed
