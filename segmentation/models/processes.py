from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class WorkerProcess(models.Model):
    """A background process that was seen, and when it last finished something. Written every few seconds at most.

    One row, `sweep`, is no process: it says when the sweep last went through, whoever did it.

    Times are the database's. Rows of processes that are gone stay for a day, so that staff see which one is missing.
    """

    class Kind(models.TextChoices):
        WORKER = "worker", _("Worker")
        BEAT = "beat", _("Clock (beat)")
        SWEEP = "sweep", _("Sweep")

    name = models.CharField(_("process"), max_length=120, unique=True)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    queues = models.CharField(_("queues"), max_length=200, blank=True)
    started_at = models.DateTimeField(_("started"), db_default=Now())
    seen_at = models.DateTimeField(_("last seen"), db_default=Now())
    last_job = models.CharField(_("last job"), max_length=64, blank=True)
    last_finished_at = models.DateTimeField(_("last finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("background process")
        verbose_name_plural = _("background processes")

    def __str__(self) -> str:
        return self.name
