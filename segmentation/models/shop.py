from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from segmentation.models.edited import Edited

# ISO 4217 currencies whose minor unit is not a hundredth.
MINOR_DIGITS = {
    "JPY": 0,
    "KRW": 0,
    "VND": 0,
    "CLP": 0,
    "ISK": 0,
    "UGX": 0,
    "BHD": 3,
    "KWD": 3,
    "OMR": 3,
    "TND": 3,
    "JOD": 3,
}


def minor_digits(currency: str) -> int:
    """Decimal places of a currency's minor unit (ISO 4217); 2 unless listed."""
    return MINOR_DIGITS.get(currency.upper(), 2)


def validate_time_zone(value: str) -> None:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValidationError(
            _("“%(value)s” is not a time zone; use a name such as Europe/London."), params={"value": value}
        ) from error


class ProfilingBasis(models.TextChoices):
    LEGITIMATE_INTEREST = "legitimate_interest", _("Legitimate interest: everyone except those who object")
    CONSENT = "consent", _("Consent: only customers who agreed")


def working_week() -> list[int]:
    """Monday to Friday, as date.weekday() counts."""
    return [0, 1, 2, 3, 4]


class Shop(Edited):
    """The one shop of this installation (a single row)."""

    name = models.CharField(_("name"), max_length=100, default="My shop")
    base_currency = models.CharField(_("base currency"), max_length=3, default="GBP")
    time_zone = models.CharField(
        _("time zone"), max_length=64, default="UTC", validators=[validate_time_zone]
    )
    profiling_basis = models.CharField(
        _("basis for profiling"),
        max_length=32,
        choices=ProfilingBasis,
        default=ProfilingBasis.LEGITIMATE_INTEREST,
    )
    season_start_month = models.PositiveSmallIntegerField(
        _("first month of the season year"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(12)],
    )
    join_guests_by_email = models.BooleanField(_("join guest orders by e-mail"), default=True)
    retrain_after_erasure_days = models.PositiveSmallIntegerField(
        _("retrain after an erasure within days"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text=_(
            "A serving model that may have learned from an erased person raises an alert after that."
        ),
    )
    approval_above_minor = models.BigIntegerField(
        _("a second person approves budgets above"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("In the smallest unit of the base currency. Empty: nobody has to."),
    )
    business_days = models.JSONField(_("service works on"), default=working_week, blank=True)
    business_from = models.TimeField(_("service works from"), default=time(9))
    business_to = models.TimeField(_("service works until"), default=time(17))
    quiet_from = models.TimeField(
        _("quiet from"),
        null=True,
        blank=True,
        help_text=_(
            "On the customer's clock. From here on no campaign gives anything; a campaign may be stricter."
        ),
    )
    quiet_to = models.TimeField(_("quiet until"), null=True, blank=True)
    contact_days = models.JSONField(_("campaigns give on"), default=list, blank=True)
    classify_every_days = models.PositiveSmallIntegerField(
        _("classify everyone every … days"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(31)],
        help_text=_("Single customers are scored again whenever something happens, whatever stands here."),
    )
    classify_hour = models.PositiveSmallIntegerField(
        _("not before this hour"),
        default=2,
        validators=[MaxValueValidator(23)],
        help_text=_("Of the shop's own clock, for the classification of everyone."),
    )
    train_every_days = models.PositiveSmallIntegerField(
        _("train every … days"),
        null=True,
        blank=True,
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(366)],
        help_text=_("Only targets that a version serves already. Empty: nothing is trained by itself."),
    )
    train_on_alerts = models.BooleanField(
        _("train when a serving model no longer fits"),
        default=False,
        help_text=_("When answers have moved, or did not come true. Without it there is an alert alone."),
    )
    train_pause_days = models.PositiveSmallIntegerField(
        _("days between trainings that start by themselves"),
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(366)],
    )
    frozen_on = models.DateField(
        _("treat this day as today"),
        null=True,
        blank=True,
        help_text=_(
            "For a file of past orders: everything is computed as if this were today. Empty: the real date."
        ),
    )

    class Meta:
        verbose_name = _("shop")
        verbose_name_plural = _("shop")
        constraints = [
            models.CheckConstraint(condition=models.Q(pk=1), name="shop_is_one_row"),
            models.CheckConstraint(
                condition=models.Q(quiet_from__isnull=True, quiet_to__isnull=True)
                | models.Q(quiet_from__isnull=False, quiet_to__isnull=False),
                name="quiet_hours_have_both_ends",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def get(cls) -> Shop:
        return cls.objects.get_or_create(pk=1)[0]

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def minor_per_major(self) -> int:
        """Minor units in one unit of the base currency: 100 for GBP, 1 for JPY."""
        return 10 ** minor_digits(self.base_currency)

    def today(self, now: datetime | None = None) -> date:
        """The day staff mean by today, in the shop's time zone (or the frozen day)."""
        return self.frozen_on or (now or timezone.now()).astimezone(self.zone).date()

    def scoring_as_of(self, now: datetime | None = None) -> date:
        """The `as_of` that counts everything up to the end of today."""
        return self.today(now) + timedelta(days=1)


class ExchangeRate(models.Model):
    """Base-currency units that one unit of `currency` was worth on `day`."""

    day = models.DateField(_("day"))
    currency = models.CharField(_("currency"), max_length=3)
    rate = models.DecimalField(_("rate"), max_digits=20, decimal_places=10, validators=[MinValueValidator(0)])

    class Meta:
        verbose_name = _("exchange rate")
        verbose_name_plural = _("exchange rates")
        constraints = [
            models.UniqueConstraint(fields=["currency", "day"], name="one_rate_a_currency_and_day")
        ]

    def __str__(self) -> str:
        return f"{self.currency} {self.day}: {self.rate}"
