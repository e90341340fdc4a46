from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from segmentation.models.leased import Leased


class CampaignResult(Leased):
    """What a campaign changed, measured by a worker; the newest that is done is what pages and the API show.

    result: see segmentation/results/report.py; null until a worker has worked it out. `as_of`: events before that day.
    """

    campaign = models.ForeignKey(
        "segmentation.Campaign", verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="results"
    )
    window_days = models.PositiveSmallIntegerField(
        _("orders count for days"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text=_("From the day a customer came into the campaign, with the offer or held out."),
    )
    relevant_percent = models.PositiveSmallIntegerField(
        _("an effect worth knowing, in percent"),
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(500)],
        help_text=_("Of what those without the offer do: 10 asks whether it changes a tenth of that."),
    )
    as_of = models.DateField(_("as of"), null=True, blank=True)
    result = models.JSONField(_("result"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("campaign result")
        verbose_name_plural = _("campaign results")
        constraints = [
            models.UniqueConstraint(
                fields=["campaign"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_open_result_a_campaign",
            ),
            models.CheckConstraint(
                condition=models.Q(window_days__gte=1, relevant_percent__gte=1),
                name="result_asks_for_something",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"
