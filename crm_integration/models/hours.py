from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from crm_integration.models.connections import Connection


class InboundHour(models.Model):
    """How many messages a connection received in an hour, counted afterwards (crm_integration/hours.py).

    `failed` could not be understood or recorded when they were counted; `unknown` had a topic that nothing reads.
    """

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="hours", db_index=False)
    hour = models.DateTimeField(_("hour"))
    received = models.PositiveIntegerField(_("received"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    unknown = models.PositiveIntegerField(_("of an unknown topic"), default=0)

    class Meta:
        verbose_name = _("hour of a connection")
        verbose_name_plural = _("hours of connections")
        constraints = [
            models.UniqueConstraint(fields=["connection", "hour"], name="connection_is_counted_once_an_hour")
        ]

    def __str__(self) -> str:
        return f"{self.connection_id} {self.hour}: {self.received}"


class InboundTally(models.Model):
    """How far the messages are counted: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    last_id = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="there_is_one_tally_of_messages")
        ]

    def __str__(self) -> str:
        return str(self.last_id)
