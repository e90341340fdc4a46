"""A job sender that remembers."""

from __future__ import annotations

from segmentation.jobs import Job

sent: list[tuple[Job, dict[str, int]]] = []


def record(job: Job, ids: dict[str, int]) -> None:
    sent.append((job, ids))
