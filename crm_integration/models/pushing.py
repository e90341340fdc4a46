from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm_integration.models.connections import Connection
from segmentation.models.leased import Leased


class PushedRecord(models.Model):
    """What a CRM's record of a customer holds of ours, as far as we know. Values: {"fields": {name: text}, "tags": [...]}.

    `attempted` is set before a request and cleared when its outcome is known, so it is what may also stand there.
    `seen_sha256` is the fingerprint of what the CRM itself said about the customer last (crm_integration/echoes.py).
    """

    connection = models.ForeignKey(
        Connection, verbose_name=_("connection"), on_delete=models.CASCADE, related_name="pushed"
    )
    customer = models.ForeignKey(
        "segmentation.Customer",
        verbose_name=_("customer"),
        on_delete=models.CASCADE,
        related_name="+",
        db_constraint=False,
    )
    reference = models.CharField(_("id there"), max_length=200)
    version = models.BigIntegerField(_("version"), default=0)
    values = models.JSONField(_("holds"), default=dict)
    attempted = models.JSONField(null=True)
    written_at = models.DateTimeField(_("last written"), null=True, blank=True)
    seen_sha256 = models.CharField(max_length=64, blank=True)
    echoes = models.PositiveIntegerField(_("echoes"), default=0)
    checked_at = models.DateTimeField(_("last read back"), null=True, blank=True)
    # What was read back where it differs from `values`; null: nothing differs.
    held = models.JSONField(null=True)
    differs = models.BooleanField(_("differs"), default=False)
    gone_at = models.DateTimeField(_("gone since"), null=True, blank=True)

    class Meta:
        verbose_name = _("record at a CRM")
        verbose_name_plural = _("records at CRMs")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "customer"], name="customer_has_one_record_a_connection"
            )
        ]
        indexes = [
            models.Index(fields=["connection", "reference"], name="pushed_record_reference"),
            models.Index(fields=["connection", "checked_at"], name="pushed_record_checked"),
            models.Index(
                fields=["connection"], name="pushed_record_differs", condition=models.Q(differs=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.connection_id} {self.reference}"


class EchoCount(models.Model):
    """How many messages of a day told us nothing but our own changes."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="echo_counts")
    day = models.DateField(_("day"))
    count = models.PositiveIntegerField(_("how often"), default=0)
    last_at = models.DateTimeField(_("last"), db_default=Now())

    class Meta:
        verbose_name = _("echo count")
        verbose_name_plural = _("echo counts")
        constraints = [models.UniqueConstraint(fields=["connection", "day"], name="echoes_count_by_day")]

    def __str__(self) -> str:
        return f"{self.day}: {self.count}"


class DriftCheck(Leased):
    """One reading back of what a CRM holds of ours. `cursor` is the last record of a full check that was compared."""

    connection = models.ForeignKey(
        Connection, verbose_name=_("connection"), on_delete=models.CASCADE, related_name="drift_checks"
    )
    period = models.CharField(_("period"), max_length=40)
    # Null: all of them.
    sample = models.PositiveIntegerField(_("records to compare"), null=True, blank=True)
    cursor = models.BigIntegerField(default=0, editable=False)
    compared = models.PositiveIntegerField(_("compared"), default=0)
    differing = models.PositiveIntegerField(_("differing"), default=0)
    gone = models.PositiveIntegerField(_("gone there"), default=0)

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("reading back")
        verbose_name_plural = _("readings back")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "period"], name="connection_is_read_back_once_a_period"
            )
        ]

    def __str__(self) -> str:
        return f"{self.connection} {self.period}"
