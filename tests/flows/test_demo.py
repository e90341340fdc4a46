"""`make demo CHECK=1`, small: the whole line in processes of its own, then again to resume."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.db import connection

LIMIT_SECONDS = 1200


@pytest.fixture
def environment(tmp_path):
    kept = {
        key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "CELERY_BROKER_URL"}
    }
    return {**kept, "TIERWISE_VAR": str(tmp_path / "var"), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def run_demo(environment, *arguments):
    return subprocess.run(
        [sys.executable, "manage.py", "demo", "--check", *arguments], cwd=settings.BASE_DIR, env=environment,
        capture_output=True, text=True, timeout=LIMIT_SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_demo_proves_the_line_and_resumes(environment):
    if connection.vendor != "sqlite":
        pytest.skip("the demo is tested on its own SQLite, with the SQLite run")
    first = run_demo(environment, "--customers", "1200")
    assert first.returncode == 0, first.stdout + first.stderr
    for shown in ("pages answered", "delivered decision", "Stops buying: version", "Lapsed", "Seconds"):
        assert shown in first.stdout
    second = run_demo(environment, "--customers", "1200")
    assert second.returncode == 0, second.stdout + second.stderr
    for skipped in (
        "Simulating a shop: already there",
        "Importing events: already there",
        "champions are already",
    ):
        assert skipped in second.stdout


def test_a_demo_that_cannot_go_on_says_why_and_leaves_nothing_running(environment, tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("the demo is tested on its own SQLite, with the SQLite run")
    done = run_demo(environment, "--file", str(tmp_path / "none.csv"), "--preset", "online-retail")
    assert done.returncode != 0
    assert "none.csv" in done.stderr
    assert "Traceback" not in done.stderr
