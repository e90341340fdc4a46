"""Beat goes on, whatever the broker does: without its sweeps nothing that was lost is found again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from django.conf import settings

from segmentation.jobs import Job
from workers import beat, sender
from workers.celery import app
from workers.schedule import SWEEP_LIVES

# What `celery beat` does, with its first entry due at once and then again.
TICK = """
import workers.tasks
from celery.utils.imports import symbol_by_name
from workers.celery import app
from workers.schedule import SWEEP_LIVES
app.conf.beat_schedule["sweep"]["schedule"] = 0.01
scheduler = symbol_by_name(app.conf.beat_scheduler)(app)
while scheduler.schedule["sweep"].total_run_count < 2:
    scheduler.tick()
print("went on")
"""


@pytest.mark.parametrize("scheme", ["redis://", "amqp://guest:guest@"])
def test_a_broker_that_takes_the_connection_and_never_answers_does_not_stop_beat(scheme, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody reads
        broker = f"{scheme}127.0.0.1:{silent.getsockname()[1]}/"
        environment = {**os.environ, "CELERY_BROKER_URL": broker, "TIERWISE_VAR": str(tmp_path)}
        told = subprocess.run(
            [sys.executable, "-c", TICK], cwd=settings.BASE_DIR, env=environment,
            stdout=subprocess.PIPE, check=True, timeout=120,
        )  # fmt: skip
    assert told.stdout.decode().splitlines()[-1] == "went on"


def test_a_sweep_that_nobody_took_is_void_soon_after_the_next_ones_came(monkeypatch):
    sent = []
    monkeypatch.setattr(sender, "send", lambda job, ids, **options: sent.append((job, ids, options)))
    scheduler = beat.Scheduler(app)
    scheduler.apply_async(scheduler.schedule["sweep"])
    assert sent == [(Job.SWEEP, {}, {"expires": SWEEP_LIVES})]
