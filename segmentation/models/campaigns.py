from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from segmentation.models.customers import PriorityLevel


class Offer(models.Model):
    class Kind(models.TextChoices):
        PERCENTAGE = "percentage", _("Percentage off")
        AMOUNT = "amount", _("Amount off")
        GIFT = "gift", _("Gift")
        EARLY_ACCESS = "early_access", _("Early access")
        SERVICE = "service", _("Service perk")
        PRODUCTS = "products", _("Product picks")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    text = models.TextField(
        _("text for the customer"), help_text=_("Use {percentage}, {amount}, {code} or {products}.")
    )
    percentage = models.DecimalField(
        _("percentage"),
        max_digits=5,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )
    value_minor = models.BigIntegerField(
        _("value to the customer"), default=0, validators=[MinValueValidator(0)]
    )
    cost_minor = models.BigIntegerField(_("cost to the shop"), default=0, validators=[MinValueValidator(0)])
    code = models.CharField(_("code"), max_length=64, blank=True)
    valid_days = models.PositiveIntegerField(_("valid for days"), default=30)
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("offer")
        verbose_name_plural = _("offers")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(kind="percentage") | models.Q(percentage__isnull=False),
                name="percentage_offer_has_a_percentage",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Campaign(models.Model):
    class Status(models.TextChoices):
        DRAFT = "draft", _("Draft")
        SCHEDULED = "scheduled", _("Scheduled")
        RUNNING = "running", _("Running")
        PAUSED = "paused", _("Paused")
        ENDED = "ended", _("Ended")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.DRAFT)
    starts_on = models.DateField(_("first day"), null=True, blank=True)
    ends_on = models.DateField(_("last day"), null=True, blank=True)
    priority = models.IntegerField(
        _("priority"), default=0, help_text=_("The highest wins when several fit.")
    )
    holdout_percent = models.DecimalField(
        _("holdout in percent"),
        max_digits=5,
        decimal_places=2,
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(50)],
        help_text=_("This share gets nothing, so that the effect can be measured."),
    )
    needs_marketing_consent = models.BooleanField(_("only with marketing consent"), default=True)
    re_entry_days = models.PositiveIntegerField(
        _("again after days"),
        null=True,
        blank=True,
        help_text=_("Empty: while the customer fits, the offer stays."),
    )

    class Meta:
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        ordering = ["-priority", "name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_on__isnull=True)
                | models.Q(starts_on__isnull=True)
                | models.Q(ends_on__gte=models.F("starts_on")),
                name="campaign_ends_after_it_starts",
            )
        ]

    def __str__(self) -> str:
        return self.name


class CampaignRule(models.Model):
    """Whoever fits gets the offer; within a campaign the first fitting rule wins."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="rules")
    position = models.PositiveIntegerField(pgettext_lazy("place in a list", "order"), default=1)
    name = models.CharField(_("name"), max_length=100, blank=True)
    segment = models.ForeignKey(
        "segmentation.Segment",
        verbose_name=_("segment"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="campaign_rules",
    )
    condition = models.JSONField(_("further condition"), null=True, blank=True)
    offer = models.ForeignKey(Offer, verbose_name=_("offer"), on_delete=models.PROTECT, related_name="rules")

    class Meta:
        verbose_name = _("campaign rule")
        verbose_name_plural = _("campaign rules")
        ordering = ["campaign", "position"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "position"], name="campaign_rule_order_is_unique"),
            models.CheckConstraint(
                condition=models.Q(segment__isnull=False) | models.Q(condition__isnull=False),
                name="campaign_rule_says_whom",
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.campaign_id}/{self.position}"


class HoldoutGroup(models.Model):
    """A draw of customers who get nothing: global (no campaign) or of one campaign. Changes are new draws."""

    campaign = models.ForeignKey(
        Campaign, null=True, blank=True, on_delete=models.CASCADE, related_name="holdouts"
    )
    draw = models.PositiveIntegerField(_("draw"), default=1)
    salt = models.CharField(max_length=64, editable=False)
    percent = models.DecimalField(
        _("percent"), max_digits=5, decimal_places=2, validators=[MinValueValidator(0), MaxValueValidator(50)]
    )
    is_current = models.BooleanField(_("current"), default=True)
    created_at = models.DateTimeField(_("drawn"), db_default=Now())

    class Meta:
        verbose_name = _("holdout group")
        verbose_name_plural = _("holdout groups")
        constraints = [
            models.UniqueConstraint(
                fields=["campaign"], condition=models.Q(is_current=True), name="one_current_draw_a_campaign"
            ),
            models.UniqueConstraint(
                fields=["is_current"],
                condition=models.Q(is_current=True, campaign__isnull=True),
                name="one_current_global_draw",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.percent} %"


class ServicePriorityRule(models.Model):
    """Rules in order; the first that fits sets how soon the customer is served."""

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
    handling = models.CharField(_("what to do"), max_length=200, blank=True)
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


class ServicePriority(models.Model):
    """How soon a customer is served now, by which rule, since when. No row: normal."""

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
    since = models.DateTimeField(_("since"), db_default=Now())

    class Meta:
        verbose_name = _("service priority")
        verbose_name_plural = _("service priorities")
        indexes = [models.Index(fields=["level", "since"], name="service_priority_by_level")]

    def __str__(self) -> str:
        return self.get_level_display()


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


class Redemption(models.Model):
    """An offer used with an order."""

    offer = models.ForeignKey(Offer, on_delete=models.PROTECT, related_name="redemptions")
    customer = models.ForeignKey(
        "segmentation.Customer", on_delete=models.CASCADE, related_name="redemptions", db_constraint=False
    )
    event = models.OneToOneField(
        "segmentation.Event", on_delete=models.CASCADE, related_name="redemption", db_constraint=False
    )
    discount_minor = models.BigIntegerField(_("discount"), default=0)
    redeemed_at = models.DateTimeField(_("redeemed"))

    class Meta:
        verbose_name = _("redemption")
        verbose_name_plural = _("redemptions")

    def __str__(self) -> str:
        return f"{self.offer_id} by {self.customer_id}"
