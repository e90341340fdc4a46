"""One small trained shop for the tests that only look at it; built once a session in the test database."""

from __future__ import annotations

import pytest

from segmentation import targets, training, training_runs
from tests.support import mini_shop

# The smallest training that still trains everything.
QUICK = {"epochs": 2, "boosting_rounds": 10, "hidden": [16], "ensemble": 1, "rounds": 20}


@pytest.fixture(autouse=True)
def _own_cache(settings, tmp_path):
    settings.VAR_DIR = tmp_path


@pytest.fixture
def small_shop(db):
    return mini_shop.build(320)


@pytest.fixture
def standard(db):
    return targets.install()


def train(wanted, *, seed=1, config=None, preset="fast"):
    """Request, claim and run a training here; returns the run as it ended."""
    run = training_runs.request(wanted, preset=preset, seed=seed, config={**QUICK, **(config or {})})
    training.run(training_runs.claim(run.pk))
    run.refresh_from_db()
    return run
