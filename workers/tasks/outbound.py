from __future__ import annotations

from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.DELIVER)
def deliver(message_id: int | None = None) -> None:
    """One message, or without an id whatever is due (a decided batch is one nudge)."""
    from crm_integration import outbox

    if message_id is None:
        outbox.deliver_due()
    else:
        outbox.deliver(message_id)
