"""Stacks of real processes. They bring their own databases and brokers; the test's own database is not touched."""

from __future__ import annotations

import os

import pytest

from tests.chaos.servers import Unavailable
from tests.chaos.stack import Options, Stack


@pytest.fixture(scope="session")
def seed():
    """CHAOS_SEED repeats a run; a failure shows the one it had."""
    chosen = int(os.environ.get("CHAOS_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
    print(f"CHAOS_SEED={chosen}")
    return chosen


@pytest.fixture(scope="session")
def template(tmp_path_factory, seed):
    """A small shop in a SQLite file, made once for all tests that start from it."""
    stack = Stack("sqlite", tmp_path_factory.mktemp("template"), seed=seed)
    yield stack.as_template(tmp_path_factory.mktemp("prepared") / "tierwise.sqlite3")
    stack.stop()


@pytest.fixture
def new_stack(tmp_path, seed, request):
    """A function that starts a stack of the cell; skips with the reason where a server is missing."""
    started = []

    def start(cell, *, template=None, workers=1, beats=2, pool=2, **options):
        try:
            stack = Stack(cell, tmp_path / cell, seed=seed, options=Options(**options), template=template)
        except Unavailable as missing:
            pytest.skip(str(missing))
        started.append(stack)
        return stack.start(workers=workers, beats=beats, pool=pool)

    yield start
    for stack in started:
        stack.stop()
