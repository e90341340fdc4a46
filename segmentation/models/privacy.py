from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from segmentation.crypto import EncryptedTextField
from segmentation.models.leased import Leased

# One month to answer (GDPR, Art. 12(3)).
DAYS_TO_ANSWER = 30


def due_date() -> datetime:
    return timezone.now() + timedelta(days=DAYS_TO_ANSWER)


class PrivacyRequest(Leased):
    """Somebody asked what is held about them, or to be erased. What names them is gone when it is done.

    `subject`: whom it is about (segmentation/privacy/subjects.py), sealed, empty once done. `customers`: their ids.
    `versions`, `runs`: ids of the model versions that may have learned from the erased, and of the trainings that
    were under way. `result`: the answer to a request for data (JSON, gzip, sealed), kept for a while.
    """

    class Kind(models.TextChoices):
        EXPORT = "export", _("What is held about a person")
        ERASE = "erase", _("Erase a person")
        ERASE_FROM = "erase_from", _("Erase everybody who is known by one source alone")

    kind = models.CharField(_("request"), max_length=10, choices=Kind)
    source = models.CharField(_("came through"), max_length=64)
    subject = EncryptedTextField(blank=True, editable=False)
    # Keyed pseudonym: tells that two requests are about one person.
    subject_key = models.CharField(max_length=64, editable=False)
    customers = models.JSONField(_("customer ids"), default=list, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("asked by"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    due_at = models.DateTimeField(_("to be answered by"), default=due_date)
    is_held = models.BooleanField(_("something was held"), null=True)
    counts = models.JSONField(_("what was found"), default=dict, blank=True)
    versions = models.JSONField(_("model versions that may have learned from them"), default=list, blank=True)
    runs = models.JSONField(default=list, blank=True)
    retrain_by = models.DateField(_("retrain by"), null=True, blank=True)
    result = models.BinaryField(null=True)

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("privacy request")
        verbose_name_plural = _("privacy requests")
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject_key"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_open_privacy_request_a_person",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class Tombstone(models.Model):
    """An id or an e-mail address of an erased person as a keyed pseudonym: it stops re-imports and replays."""

    mark = models.CharField(max_length=64, unique=True)
    request = models.ForeignKey(
        PrivacyRequest, null=True, on_delete=models.SET_NULL, related_name="tombstones"
    )
    erased_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("tombstone")
        verbose_name_plural = _("tombstones")

    def __str__(self) -> str:
        return self.mark[:12]
