from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from segmentation.models.campaigns import Campaign
from segmentation.models.leased import Leased
from segmentation.models.offers import Offer


class PolicyEstimate(Leased):
    """What another campaign, or one offer for everybody, would have brought the customers of a campaign that draws.

    `result` is filled by a worker (segmentation/estimates/).
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="estimates")
    other = models.ForeignKey(
        Campaign,
        verbose_name=_("the other campaign"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
    )
    offer = models.ForeignKey(
        Offer,
        verbose_name=_("one offer for everybody"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
    )
    horizon_days = models.PositiveSmallIntegerField(
        _("followed for days"), default=30, validators=[MinValueValidator(1), MaxValueValidator(365)]
    )
    result = models.JSONField(_("result"), default=dict)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        verbose_name = _("estimate of another choice")
        verbose_name_plural = _("estimates of other choices")
        constraints = [
            models.CheckConstraint(
                condition=Q(other__isnull=False, offer__isnull=True)
                | Q(other__isnull=True, offer__isnull=False),
                name="estimate_is_of_one_choice",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"
