from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class LeaseState(models.TextChoices):
    QUEUED = "queued", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class Leased(models.Model):
    """A row that is work: workers claim it for a while, and a lost claim runs out (see segmentation/leases.py).

    Times are the database's; `fence` grows with each claim, so a worker that lost its lease cannot write.
    """

    state = models.CharField(_("state"), max_length=10, choices=LeaseState, default=LeaseState.QUEUED)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    run_after = models.DateTimeField(_("not before"), db_default=Now())
    lease_until = models.DateTimeField(_("claimed until"), null=True, blank=True)
    fence = models.BigIntegerField(default=0, editable=False)
    progress = models.FloatField(_("progress"), default=0)
    progress_note = models.CharField(_("doing"), max_length=200, blank=True)
    cancel_requested = models.BooleanField(_("cancel asked"), default=False)
    error = models.TextField(_("what went wrong"), blank=True)
    created_at = models.DateTimeField(_("created"), db_default=Now())
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        abstract = True
        indexes = [
            models.Index(
                fields=["run_after"],
                name="%(class)s_open",
                condition=models.Q(state__in=["queued", "running"]),
            )
        ]

    @property
    def is_over(self) -> bool:
        return self.state in {LeaseState.DONE, LeaseState.FAILED, LeaseState.CANCELLED}
