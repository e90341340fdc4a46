from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from crm_integration.models.connections import Connection
from segmentation.models.leased import Leased


class Reconciliation(Leased):
    """One comparison of a CRM with what its messages told us. `cursor` is where to go on after a stored page.

    The counts say what the messages had missed, so after a night without losses they are zero.
    """

    connection = models.ForeignKey(
        Connection, verbose_name=_("connection"), on_delete=models.CASCADE, related_name="reconciliations"
    )
    period = models.CharField(_("period"), max_length=40)
    since = models.DateTimeField(_("changed since"))
    until = models.DateTimeField(_("changed until"))
    is_backfill = models.BooleanField(_("history"), default=False)
    cursor = models.JSONField(default=dict, blank=True, editable=False)
    pages = models.PositiveIntegerField(_("pages"), default=0)
    known = models.PositiveIntegerField(_("facts already known"), default=0)
    events_missed = models.PositiveIntegerField(_("facts that were missing"), default=0)
    customers_missed = models.PositiveIntegerField(_("customers with something new"), default=0)
    rejected = models.PositiveIntegerField(_("could not be read"), default=0)

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("comparison with a CRM")
        verbose_name_plural = _("comparisons with CRMs")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "period"], name="connection_is_compared_once_a_period"
            )
        ]

    def __str__(self) -> str:
        return f"{self.connection} {self.period}"
