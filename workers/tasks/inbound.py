from __future__ import annotations

from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.PROCESS_INBOUND)
def process(message_id: int) -> None:
    from crm_integration import inbox

    inbox.process(message_id)
