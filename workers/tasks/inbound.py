from __future__ import annotations

from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.PROCESS_INBOUND)
def process(message_id: int | None = None) -> None:
    """One message, or without an id whatever is due (a backlog is one nudge)."""
    from crm_integration import inbox
    from workers.queues import TURN_SECONDS

    if message_id is None:
        inbox.process_due(seconds=TURN_SECONDS)
    else:
        inbox.process(message_id)
