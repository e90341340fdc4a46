from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from segmentation.models.campaigns import Campaign
from segmentation.models.leased import Leased
from segmentation.models.priorities import ServicePriorityRule
from segmentation.models.segments import Segment


class PolicyBacktest(Leased):
    """What a draft would have done on past days (segmentation/policy_backtests.py). `result` is filled by a worker."""

    segment = models.ForeignKey(Segment, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    campaign = models.ForeignKey(
        Campaign, null=True, blank=True, on_delete=models.CASCADE, related_name="backtests"
    )
    priority_rule = models.ForeignKey(
        ServicePriorityRule, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    days = models.JSONField(_("days"))
    horizon_days = models.PositiveSmallIntegerField(_("followed for days"), default=30)
    result = models.JSONField(_("result"), default=dict)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        verbose_name = _("backtest of a rule")
        verbose_name_plural = _("backtests of rules")
        constraints = [
            models.CheckConstraint(
                condition=Q(segment__isnull=False, campaign__isnull=True, priority_rule__isnull=True)
                | Q(segment__isnull=True, campaign__isnull=False, priority_rule__isnull=True)
                | Q(segment__isnull=True, campaign__isnull=True, priority_rule__isnull=False),
                name="backtest_is_of_one_thing",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"
