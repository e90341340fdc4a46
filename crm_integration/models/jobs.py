from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm_integration.models.connections import Connection
from crm_integration.models.messages import InboundMessage


class JobRequest(models.Model):
    """A job that a message asked for, once however often it comes, and whether its end was told.

    `error` says why no run was started; otherwise one of the runs is named.
    """

    class Kind(models.TextChoices):
        TRAIN = "train", _("Training")
        CLASSIFY = "classify", _("Classification")

    connection = models.ForeignKey(
        Connection, verbose_name=_("connection"), on_delete=models.PROTECT, related_name="job_requests"
    )
    message = models.OneToOneField(
        InboundMessage, null=True, on_delete=models.SET_NULL, related_name="job_request"
    )
    asked_by = models.CharField(_("message id"), max_length=200)
    topic = models.CharField(_("topic"), max_length=100)
    kind = models.CharField(_("job"), max_length=10, choices=Kind)
    training_run = models.ForeignKey(
        "segmentation.TrainingRun", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    scoring_run = models.ForeignKey(
        "segmentation.ScoringRun", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    error = models.TextField(_("what went wrong"), blank=True)
    created_at = models.DateTimeField(_("asked for"), db_default=Now())
    told_at = models.DateTimeField(_("end told"), null=True, blank=True)

    class Meta:
        verbose_name = _("requested job")
        verbose_name_plural = _("requested jobs")
        indexes = [
            models.Index(
                fields=["created_at"],
                name="job_request_open",
                condition=models.Q(told_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.asked_by}"
