from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.models.campaigns import Campaign
from segmentation.models.customers import PriorityLevel
from segmentation.models.offers import Offer


class PolicyVersion(models.Model):
    """The active rules, offers, caps and holdouts as they were; verdict codes refer to its candidates by position."""

    sha256 = models.CharField(max_length=64, unique=True)
    content = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("policy version")
        verbose_name_plural = _("policy versions")

    def __str__(self) -> str:
        return self.sha256[:12]


class Decision(models.Model):
    """What a customer gets and why: the winner, the priority and a code for each candidate's verdict.

    Sentences are rebuilt from `verdicts`, the policy version and the input snapshot (segmentation/decisions.py).
    """

    class Cause(models.IntegerChoices):
        BATCH = 1, _("Classification run")
        EVENT = 2, _("New event")
        REQUEST = 3, _("Asked for")

    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="decisions",
        db_constraint=False,
        db_index=False,
    )
    input_version = models.BigIntegerField()
    policy = models.ForeignKey(PolicyVersion, on_delete=models.PROTECT, related_name="+", db_index=False)
    snapshot = models.ForeignKey(
        "segmentation.InputSnapshot",
        on_delete=models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    as_of = models.DateField(_("as of"))
    cause = models.PositiveSmallIntegerField(_("cause"), choices=Cause)
    campaign = models.ForeignKey(
        Campaign,
        verbose_name=_("campaign"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    offer = models.ForeignKey(
        Offer,
        verbose_name=_("offer"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    priority = models.PositiveSmallIntegerField(
        _("service priority"), choices=PriorityLevel, default=PriorityLevel.NORMAL
    )
    verdicts = models.BinaryField()
    decided_at = models.DateTimeField(_("decided"), db_default=Now())

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "input_version", "policy"], name="decided_once_an_input_and_policy"
            )
        ]
        indexes = [
            models.Index(
                fields=["campaign"], name="decision_by_campaign", condition=models.Q(campaign__isnull=False)
            ),
            models.Index(fields=["offer"], name="decision_by_offer", condition=models.Q(offer__isnull=False)),
            models.Index(fields=["decided_at"], name="decision_by_time"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"
