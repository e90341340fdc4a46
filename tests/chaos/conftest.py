"""Stacks of real processes. They bring their own databases and brokers; the test's own database is not touched."""

from __future__ import annotations

import os

import pytest

from tests.chaos.servers import Unavailable
from tests.chaos.stack import Options, Stack


@pytest.fixture(scope="session")
def seed():
    """The short form is the same every time; CHAOS_SEED and `python -m tests.chaos` draw others."""
    return int(os.environ.get("CHAOS_SEED", "20101201"))


@pytest.fixture(scope="session")
def template_of(tmp_path_factory, seed):
    """A function that gives a small shop in the database of a cell, made once for all tests that start from it."""
    made = {}

    def template(cell):
        kind = "sqlite" if cell == "sqlite" else "postgresql"
        if kind not in made:
            try:
                stack = Stack(kind, tmp_path_factory.mktemp("template"), seed=seed)
            except Unavailable as missing:
                pytest.skip(str(missing))
            made[kind] = stack.as_template(tmp_path_factory.mktemp("prepared") / "tierwise")
            stack.stop()
        return made[kind]

    return template


@pytest.fixture(scope="session")
def template(template_of):
    return template_of("sqlite")


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
