"""Imported by workers of the harness alone (`celery -I tests.chaos.worker`): where they may be killed, and their clock."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_process_init

from tests.chaos import clocks, points

clocks.follow()
points.install("publish", "effect", "ack")


@worker_process_init.connect
def _in_a_pool_child(**_told: Any) -> None:
    """The worker itself commits for its broker, where that is the database; a point is in the middle of work."""
    points.install("commit")
    clocks.follow()
