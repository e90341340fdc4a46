from __future__ import annotations

from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.DELIVER)
def deliver(message_id: int | None = None, connection_id: int | None = None) -> None:
    """One message, what is due to one connection, or without an id whatever is due (a decided batch is one nudge)."""
    from crm_integration import outbox
    from workers.queues import TURN_SECONDS

    if message_id is not None:
        outbox.deliver(message_id)
    else:
        outbox.deliver_due(connection_id, seconds=TURN_SECONDS)
