from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class QueuedMessage(models.Model):
    """A message of the embedded broker (workers/transport.py). Times are epoch seconds by the database's clock."""

    queue = models.CharField(max_length=100)
    payload = models.TextField()
    leased_until = models.FloatField(default=0)
    deliveries = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["queue", "leased_until", "id"], name="message_by_queue")]

    def __str__(self) -> str:
        return f"{self.queue}/{self.pk}"


class PeriodicRun(models.Model):
    """A job that runs once a period; the unique row makes any number of beats harmless."""

    job = models.CharField(max_length=64)
    period = models.CharField(max_length=32)
    started_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "period"], name="job_runs_once_a_period")]

    def __str__(self) -> str:
        return f"{self.job} {self.period}"
