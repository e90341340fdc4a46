from __future__ import annotations

from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.DELIVER)
def deliver(message_id: int) -> None:
    from crm_integration import outbox

    outbox.deliver(message_id)
