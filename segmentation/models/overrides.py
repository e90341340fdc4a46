from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class ScoreOverride(models.Model):
    """A member of staff knows better than the model: the class of one customer for one target, until it ends.

    Scoring leaves it alone; what rules see is `label`, the model's own answer stays in Score. One that was lifted, or
    whose last day has passed, keeps its row with the time it ended.
    """

    customer = models.ForeignKey(
        "segmentation.Customer",
        verbose_name=_("customer"),
        on_delete=models.CASCADE,
        related_name="overrides",
        db_constraint=False,
    )
    target = models.ForeignKey(
        "segmentation.Target", verbose_name=_("target"), on_delete=models.CASCADE, related_name="overrides"
    )
    label = models.CharField(_("class"), max_length=64)
    reason = models.TextField(_("why"), max_length=500)
    last_day = models.DateField(_("until"), null=True, blank=True)
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("set by"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    set_at = models.DateTimeField(_("set"), db_default=Now())
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("lifted by"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )

    class Meta:
        verbose_name = _("override by staff")
        verbose_name_plural = _("overrides by staff")
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "target"],
                condition=models.Q(ended_at__isnull=True),
                name="one_override_in_force_a_customer_and_target",
            ),
            models.CheckConstraint(condition=~models.Q(label=""), name="override_names_a_class"),
            models.CheckConstraint(condition=~models.Q(reason=""), name="override_says_why"),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id}/{self.target_id}: {self.label}"
