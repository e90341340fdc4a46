from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from segmentation.models.edited import Edited
from segmentation.models.events import KIND_CHOICES
from segmentation.models.offers import Channel, Offer


class Campaign(Edited):
    class Status(models.TextChoices):
        DRAFT = "draft", _("Draft")
        SCHEDULED = "scheduled", _("Scheduled")
        RUNNING = "running", _("Running")
        PAUSED = "paused", _("Paused")
        ENDED = "ended", _("Ended")

    class Trigger(models.TextChoices):
        ALWAYS = "always", _("Whenever the customer fits")
        BATCH = "batch", _("Only when everybody is classified")
        SEGMENT_ENTRY = "segment_entry", _("When the customer enters a segment")
        SEGMENT_EXIT = "segment_exit", _("When the customer leaves a segment")
        EVENT = "event", _("When the customer does something")
        SCHEDULE = "schedule", _("On certain days")

    class ReEntry(models.TextChoices):
        ALWAYS = "always", _("Whenever the customer fits again")
        NEVER = "never", _("Never")
        DAYS = "days", _("After a number of days")
        EVENT = "event", _("Each time it is triggered")

    class Lost(models.TextChoices):
        DROP = "drop", _("Loses the offer")
        KEEP = "keep", _("Keeps the offer until it runs out")

    class Choice(models.TextChoices):
        ORDER = "order", _("The first rule that fits")
        VALUE = "value", _("The rule with the highest expected gain")
        SAMPLING = "sampling", _("Learn which works: shares follow the results")

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

    trigger = models.CharField(
        _("what starts it for a customer"), max_length=20, choices=Trigger, default=Trigger.ALWAYS
    )
    trigger_segment = models.ForeignKey(
        "segmentation.Segment",
        verbose_name=_("segment entered or left"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="triggered_campaigns",
    )
    trigger_event = models.PositiveSmallIntegerField(
        _("what the customer does"), choices=KIND_CHOICES, null=True, blank=True
    )
    trigger_days = models.PositiveSmallIntegerField(
        _("counts for days"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(90)],
        help_text=_("So long after it happened the customer may still get the offer."),
    )
    schedule_weekdays = models.JSONField(_("on these weekdays"), default=list, blank=True)
    schedule_month_day = models.PositiveSmallIntegerField(
        _("on this day of the month"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(31)],
        help_text=_("In a shorter month its last day."),
    )
    re_entry = models.CharField(_("may come again"), max_length=10, choices=ReEntry, default=ReEntry.ALWAYS)
    re_entry_days = models.PositiveIntegerField(
        _("again after days"),
        null=True,
        blank=True,
        help_text=_("Whole days, counted from the day the offer was given."),
    )
    on_lost = models.CharField(_("who no longer fits"), max_length=10, choices=Lost, default=Lost.DROP)

    exclusive_group = models.SlugField(
        _("exclusive group"),
        blank=True,
        help_text=_("Of the campaigns with the same word here a customer gets one at most."),
    )
    stacks = models.BooleanField(
        _("may come beside others"),
        default=False,
        help_text=_("Given along with other campaigns that say the same; otherwise one campaign a customer."),
    )
    channel = models.CharField(_("channel"), max_length=10, choices=Channel, blank=True)
    ignores_caps = models.BooleanField(
        _("not counted by frequency caps"), default=False, help_text=_("For service, not for advertising.")
    )
    hours_from = models.TimeField(_("from"), null=True, blank=True)
    hours_to = models.TimeField(_("until"), null=True, blank=True)
    weekdays = models.JSONField(_("given on these weekdays"), default=list, blank=True)

    choice = models.CharField(
        _("choice among its rules"), max_length=10, choices=Choice, default=Choice.ORDER
    )
    budget_minor = models.BigIntegerField(
        _("budget"), null=True, blank=True, validators=[MinValueValidator(0)]
    )
    # Where the budget goes when gains are compared: customers whose gain per money is lower get nothing.
    floor_ratio = models.FloatField(_("least gain per money spent"), null=True, blank=True, editable=False)
    floor_customer = models.BigIntegerField(null=True, blank=True, editable=False)
    floor_at = models.DateTimeField(null=True, blank=True, editable=False)

    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        editable=False,
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        editable=False,
    )
    approved_at = models.DateTimeField(_("approved"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        ordering = ["-priority", "name"]
        permissions = [("approve_campaign", "Can approve a campaign with a large budget")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_on__isnull=True)
                | models.Q(starts_on__isnull=True)
                | models.Q(ends_on__gte=models.F("starts_on")),
                name="campaign_ends_after_it_starts",
            ),
            models.CheckConstraint(
                condition=~models.Q(re_entry="days") | models.Q(re_entry_days__isnull=False),
                name="campaign_says_after_how_many_days",
            ),
            models.CheckConstraint(
                condition=models.Q(hours_from__isnull=True, hours_to__isnull=True)
                | models.Q(hours_from__isnull=False, hours_to__isnull=False),
                name="campaign_hours_have_both_ends",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class CampaignRule(models.Model):
    """Whoever fits may get the offer; the campaign's `choice` says which of several fitting rules counts."""

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
    uplift = models.FloatField(
        _("expected uplift"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text=_("How much likelier the offer makes a purchase, from 0 to 1."),
    )
    uplift_field = models.CharField(
        _("or taken from"),
        max_length=100,
        blank=True,
        help_text=_("A score or feature that holds it for each customer, such as score.churn."),
    )
    margin_minor = models.BigIntegerField(
        _("margin of a purchase"), default=0, validators=[MinValueValidator(0)]
    )
    # What came of the offers given so far; refreshed nightly (segmentation/sampling.py).
    tried = models.PositiveIntegerField(_("given and over"), default=0, editable=False)
    succeeded = models.PositiveIntegerField(_("with an order"), default=0, editable=False)

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
            models.CheckConstraint(
                condition=models.Q(succeeded__lte=models.F("tried")), name="rule_succeeds_as_often_as_tried"
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"#{self.position}"


class FrequencyCap(Edited):
    """How often a customer hears from campaigns at most, whatever their number; the higher priority comes first."""

    name = models.CharField(_("name"), max_length=100)
    channel = models.CharField(
        _("channel"), max_length=10, choices=Channel, blank=True, help_text=_("Empty: all channels together.")
    )
    most = models.PositiveSmallIntegerField(_("at most"), default=1, validators=[MinValueValidator(1)])
    days = models.PositiveSmallIntegerField(
        _("within days"),
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text=_("Calendar days where the customer lives, today included."),
    )
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("frequency cap")
        verbose_name_plural = _("frequency caps")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=models.Q(most__gte=1, days__gte=1), name="cap_allows_something")
        ]

    def __str__(self) -> str:
        return self.name


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
