"""Letters that were set aside at the broker, looked through once more (settings.PARKED_SIFTER)."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

from crm_integration.queue_door import Letter


def sift(queue: str, must_go: Callable[[Letter], bool]) -> int:
    """Remove from those set aside of a queue whichever must go; returns how many went. Raises what the broker raises."""
    url = settings.CELERY_BROKER_URL
    if url.startswith(("redis", "rediss", "sentinel")):
        from workers import redis_doors

        return redis_doors.sift(url, queue, must_go)
    from workers import amqp_doors

    return amqp_doors.sift(url, queue, must_go)
