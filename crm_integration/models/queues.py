from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from crm_integration.models.connections import Connection


class QueueStatus(models.Model):
    """What the consumer last saw of a connection's queue; in a row of its own, so that no form saves over it."""

    connection = models.OneToOneField(
        Connection, primary_key=True, on_delete=models.CASCADE, related_name="queue_status"
    )
    seen_at = models.DateTimeField(_("looked at"))
    last_message_at = models.DateTimeField(_("last message"), null=True, blank=True)
    waiting = models.PositiveIntegerField(_("waiting"), default=0)
    parked = models.PositiveIntegerField(_("set aside"), default=0)
    problem = models.CharField(_("what went wrong"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")

    def __str__(self) -> str:
        return f"{self.connection_id}: {self.waiting}"
