from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Alert(models.Model):
    """Something staff should look at; one open alert a key."""

    class Severity(models.TextChoices):
        INFO = "info", _("For information")
        WARNING = "warning", _("Warning")
        ERROR = "error", _("Error")

    key = models.CharField(max_length=120)
    severity = models.CharField(_("severity"), max_length=10, choices=Severity, default=Severity.WARNING)
    message = models.TextField(_("message"))
    raised_at = models.DateTimeField(_("since"), db_default=Now())
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(resolved_at__isnull=True), name="one_open_alert_a_key"
            )
        ]

    def __str__(self) -> str:
        return self.message
