from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from segmentation.models.customers import PriorityLevel
from segmentation.models.edited import Edited


class ServicePriorityRule(Edited):
    """Rules in order; the first that fits sets how soon the customer is served.

    A promise fits beside the order: nobody who fits it is served later than its level, whatever else says so.
    """

    position = models.PositiveIntegerField(pgettext_lazy("place in a list", "order"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    segment = models.ForeignKey(
        "segmentation.Segment",
        verbose_name=_("segment"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="priority_rules",
    )
    condition = models.JSONField(_("further condition"), null=True, blank=True)
    level = models.PositiveSmallIntegerField(_("priority"), choices=PriorityLevel, default=PriorityLevel.HIGH)
    is_promise = models.BooleanField(
        _("promised"),
        default=False,
        help_text=_("Nobody who fits is ever served later than this, whatever other rules or people say."),
    )
    respects_holdout = models.BooleanField(
        _("not for the global holdout"),
        default=False,
        help_text=_(
            "Customers in the global holdout are served as usual, so that the effect can be measured."
        ),
    )
    handling = models.CharField(_("what to do"), max_length=200, blank=True)
    owner = models.CharField(_("who looks after it"), max_length=100, blank=True)
    target_minutes = models.PositiveIntegerField(
        _("answer within minutes"), null=True, blank=True, help_text=_("Counted in business hours.")
    )
    expires_days = models.PositiveSmallIntegerField(
        _("ends after days"),
        null=True,
        blank=True,
        help_text=_(
            "Empty: as long as the customer fits. Afterwards it starts anew once they have stopped fitting."
        ),
    )
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("service priority rule")
        verbose_name_plural = _("service priority rules")
        ordering = ["position"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(segment__isnull=False) | models.Q(condition__isnull=False),
                name="priority_rule_says_whom",
            )
        ]

    def __str__(self) -> str:
        return self.name


class PriorityOverride(models.Model):
    """What a person decided about one customer, with a reason and an end. Promises still hold."""

    customer = models.ForeignKey(
        "segmentation.Customer", on_delete=models.CASCADE, related_name="priority_overrides"
    )
    level = models.PositiveSmallIntegerField(_("priority"), choices=PriorityLevel)
    reason = models.CharField(_("reason"), max_length=200)
    until = models.DateTimeField(_("until"))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(_("since"), db_default=Now())
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("priority set by hand")
        verbose_name_plural = _("priorities set by hand")
        constraints = [
            models.UniqueConstraint(
                fields=["customer"], condition=Q(ended_at__isnull=True), name="one_open_override_a_customer"
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class PriorityReview(models.Model):
    """A rule that uses predictions would serve this customer later than otherwise: a person says whether it may."""

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        APPROVED = "approved", _("Approved")
        REFUSED = "refused", _("Refused")

    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="priority_reviews",
        db_constraint=False,
    )
    rule = models.ForeignKey(ServicePriorityRule, on_delete=models.CASCADE, related_name="reviews")
    level = models.PositiveSmallIntegerField(_("priority"), choices=PriorityLevel)
    otherwise = models.PositiveSmallIntegerField(_("otherwise"), choices=PriorityLevel)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.WAITING)
    asked_at = models.DateTimeField(_("asked"), db_default=Now())
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    until = models.DateTimeField(_("until"), null=True, blank=True)

    class Meta:
        verbose_name = _("later service to approve")
        verbose_name_plural = _("later service to approve")
        constraints = [
            models.UniqueConstraint(fields=["customer", "rule"], name="one_review_a_customer_and_rule"),
            models.CheckConstraint(
                condition=Q(state="waiting") | Q(decided_at__isnull=False), name="review_was_decided_once"
            ),
        ]
        indexes = [models.Index(fields=["state", "id"], name="review_by_state")]

    def __str__(self) -> str:
        return f"#{self.pk}"


class ServicePriority(models.Model):
    """How soon a customer is served now, by which rule or person, since when. No row: normal."""

    customer = models.OneToOneField(
        "segmentation.Customer",
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="service_priority",
        db_constraint=False,
    )
    level = models.PositiveSmallIntegerField(_("priority"), choices=PriorityLevel)
    rule = models.ForeignKey(
        ServicePriorityRule, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    override = models.ForeignKey(
        PriorityOverride, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    since = models.DateTimeField(_("since"), db_default=Now())
    expires_at = models.DateTimeField(_("until"), null=True, blank=True)
    # Rules whose time is over for this customer, who still fits them: ids with commas. They do not start anew.
    ended_rules = models.CharField(max_length=200, blank=True, editable=False)
    respond_by = models.DateTimeField(_("answer by"), null=True, blank=True)
    handled_at = models.DateTimeField(_("handled"), null=True, blank=True)
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        verbose_name = _("service priority")
        verbose_name_plural = _("service priorities")
        indexes = [
            models.Index(fields=["level", "since"], name="service_priority_by_level"),
            models.Index(
                fields=["-level", "since", "customer"],
                name="service_work_list",
                condition=Q(handled_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.get_level_display()


class DecideAgain(models.Model):
    """A customer to decide anew at a moment: contact hours open, a priority ends. A sweep marks them due."""

    customer = models.OneToOneField(
        "segmentation.Customer", on_delete=models.CASCADE, related_name="decide_again", db_constraint=False
    )
    at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("decision to repeat")
        verbose_name_plural = _("decisions to repeat")

    def __str__(self) -> str:
        return f"{self.at}"
