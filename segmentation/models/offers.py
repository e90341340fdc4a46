from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now
from django.utils.translation import gettext_lazy as _

from segmentation.models.edited import Edited


class Channel(models.TextChoices):
    EMAIL = "email", _("E-mail")
    SMS = "sms", _("Text message")
    PUSH = "push", _("App notification")
    POST = "post", _("Letter")
    PHONE = "phone", _("Phone")
    SHOP = "shop", _("In the shop")


class Offer(Edited):
    class Kind(models.TextChoices):
        PERCENTAGE = "percentage", _("Percentage off")
        AMOUNT = "amount", _("Amount off")
        GIFT = "gift", _("Gift")
        EARLY_ACCESS = "early_access", _("Early access")
        POINTS = "points", _("Points")
        SERVICE = "service", _("Service perk")
        PRODUCTS = "products", _("Product picks")

    class Codes(models.TextChoices):
        ONE = "one", _("One code for everybody")
        POOL = "pool", _("A code of their own for each customer")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    text = models.TextField(
        _("text for the customer"),
        help_text=_("Words in braces are filled in, such as {percentage}, {code} or {valid_until}."),
    )
    percentage = models.DecimalField(
        _("percentage"),
        max_digits=5,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )
    points = models.PositiveIntegerField(_("points"), null=True, blank=True)
    products_count = models.PositiveSmallIntegerField(
        _("products named at most"),
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text=_("{products} names the ones that the customer will probably want next."),
    )
    products_fallback = models.CharField(
        _("instead of {products}"),
        max_length=200,
        blank=True,
        help_text=_("Said where no product can be suggested, such as “our new arrivals”."),
    )
    value_minor = models.BigIntegerField(
        _("value to the customer"), default=0, validators=[MinValueValidator(0)]
    )
    cost_minor = models.BigIntegerField(_("cost to the shop"), default=0, validators=[MinValueValidator(0)])
    code = models.CharField(_("code"), max_length=64, blank=True)
    codes = models.CharField(_("codes"), max_length=10, choices=Codes, default=Codes.ONE)
    starts_on = models.DateField(_("given from"), null=True, blank=True)
    ends_on = models.DateField(_("given until"), null=True, blank=True)
    valid_days = models.PositiveIntegerField(_("valid for days"), default=30)
    limit_total = models.PositiveIntegerField(
        _("given at most"), null=True, blank=True, help_text=_("To all customers together.")
    )
    limit_per_customer = models.PositiveSmallIntegerField(
        _("per customer at most"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    limit_money_minor = models.BigIntegerField(
        _("may cost at most"), null=True, blank=True, validators=[MinValueValidator(0)]
    )
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("offer")
        verbose_name_plural = _("offers")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(kind="percentage") | models.Q(percentage__isnull=False),
                name="percentage_offer_has_a_percentage",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind="points") | models.Q(points__isnull=False),
                name="points_offer_has_points",
            ),
            models.CheckConstraint(
                condition=models.Q(ends_on__isnull=True)
                | models.Q(starts_on__isnull=True)
                | models.Q(ends_on__gte=models.F("starts_on")),
                name="offer_ends_after_it_starts",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class OfferText(models.Model):
    """The offer's text in another language."""

    offer = models.ForeignKey(Offer, on_delete=models.CASCADE, related_name="texts")
    language = models.CharField(_("language"), max_length=10, help_text=_("Such as de or zh-hans."))
    text = models.TextField(_("text for the customer"))
    products_fallback = models.CharField(_("instead of {products}"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("offer text")
        verbose_name_plural = _("texts in other languages")
        constraints = [
            models.UniqueConstraint(fields=["offer", "language"], name="one_offer_text_a_language")
        ]

    def __str__(self) -> str:
        return self.language


class Usage(models.Model):
    """What of a limit is used, and the limit: one row an offer or campaign that has one.

    The checks are the promise: whatever workers do at once, none can write more than the limit.
    """

    offer = models.OneToOneField(Offer, null=True, blank=True, on_delete=models.CASCADE, related_name="usage")
    campaign = models.OneToOneField(
        "segmentation.Campaign", null=True, blank=True, on_delete=models.CASCADE, related_name="usage"
    )
    given = models.BigIntegerField(_("given"), default=0)
    spent_minor = models.BigIntegerField(_("spent"), default=0)
    most = models.BigIntegerField(null=True, blank=True)
    most_minor = models.BigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = _("used limit")
        verbose_name_plural = _("used limits")
        constraints = [
            models.CheckConstraint(
                condition=Q(offer__isnull=True) ^ Q(campaign__isnull=True), name="usage_is_of_one_thing"
            ),
            models.CheckConstraint(
                condition=Q(most__isnull=True) | Q(given__lte=F("most")), name="given_stays_within_limit"
            ),
            models.CheckConstraint(
                condition=Q(most_minor__isnull=True) | Q(spent_minor__lte=F("most_minor")),
                name="spent_stays_within_limit",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.given}"


class Grant(models.Model):
    """An offer that a campaign gave to a customer: what caps, limits, codes and re-entry are counted by.

    Written for campaigns whose terms need counting. Open (`ended_at` empty) while the customer has it.
    """

    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="grants",
        db_constraint=False,
        db_index=False,
    )
    campaign = models.ForeignKey(
        "segmentation.Campaign",
        on_delete=models.CASCADE,
        related_name="grants",
        db_constraint=False,
        db_index=False,
    )
    offer = models.ForeignKey(
        Offer, on_delete=models.PROTECT, related_name="grants", db_constraint=False, db_index=False
    )
    rule = models.BigIntegerField(_("rule"))
    channel = models.CharField(_("channel"), max_length=10, blank=True)
    is_counted = models.BooleanField(_("counted by caps"), default=True)
    granted_at = models.DateTimeField(_("given"))
    triggered_at = models.DateTimeField(_("triggered"), null=True, blank=True)
    valid_until = models.DateField(_("valid until"))
    ended_at = models.DateTimeField(_("over"), null=True, blank=True)
    code = models.CharField(_("code"), max_length=64, blank=True)
    cost_minor = models.BigIntegerField(_("cost"), default=0)
    propensity = models.FloatField(
        _("chance of this choice"), null=True, blank=True, help_text=_("As it was when the rule was drawn.")
    )

    class Meta:
        verbose_name = _("given offer")
        verbose_name_plural = _("given offers")
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "campaign"],
                condition=Q(ended_at__isnull=True),
                name="one_open_grant_a_campaign",
            )
        ]
        indexes = [
            models.Index(fields=["customer", "granted_at"], name="grant_by_customer"),
            models.Index(fields=["campaign", "id"], name="grant_by_campaign"),
            models.Index(fields=["offer", "id"], name="grant_by_offer"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class OfferCode(models.Model):
    """One code of a pool; it goes to one grant, once.

    The grant is known by its number alone: when its customer is erased it goes, and the code stays used.
    """

    offer = models.ForeignKey(Offer, on_delete=models.CASCADE, related_name="pool", db_index=False)
    code = models.CharField(_("code"), max_length=64)
    grant_number = models.BigIntegerField(_("given as"), null=True, blank=True, unique=True)
    is_used = models.BooleanField(_("assigned"), default=False)

    class Meta:
        verbose_name = _("code")
        verbose_name_plural = _("codes")
        constraints = [
            models.UniqueConstraint(fields=["offer", "code"], name="offer_code_is_unique"),
            models.CheckConstraint(
                condition=Q(grant_number__isnull=True) | Q(is_used=True), name="granted_code_is_used"
            ),
        ]
        indexes = [
            models.Index(fields=["offer", "id"], name="free_code", condition=Q(is_used=False)),
            # Orders name a code in whatever letters somebody typed.
            models.Index(Lower("code"), name="code_in_small_letters"),
        ]

    def __str__(self) -> str:
        return self.code


class Suppression(Edited):
    """A customer to whom no campaign may give anything, whatever they agreed to."""

    customer = models.ForeignKey(
        "segmentation.Customer", on_delete=models.CASCADE, related_name="suppressions"
    )
    channel = models.CharField(
        _("channel"), max_length=10, choices=Channel, blank=True, help_text=_("Empty: all channels.")
    )
    reason = models.CharField(_("reason"), max_length=200)
    until = models.DateField(_("until"), null=True, blank=True, help_text=_("Empty: for good."))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        editable=False,
    )
    created_at = models.DateTimeField(_("since"), db_default=Now())

    class Meta:
        verbose_name = _("suppression")
        verbose_name_plural = _("suppressed customers")
        constraints = [
            models.UniqueConstraint(fields=["customer", "channel"], name="one_suppression_a_channel")
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class Redemption(models.Model):
    """An offer used with an order: its code stands on the order. Of an order's newest version only.

    `campaign` and `grant_number` say by which campaign the customer had it; empty where nobody gave it to them (a
    shared code that was passed on). A unique code counts for the campaign that gave it, whoever ordered with it.
    """

    offer = models.ForeignKey(Offer, on_delete=models.PROTECT, related_name="redemptions")
    customer = models.ForeignKey(
        "segmentation.Customer", on_delete=models.CASCADE, related_name="redemptions", db_constraint=False
    )
    event = models.ForeignKey(
        "segmentation.Event", on_delete=models.CASCADE, related_name="redemptions", db_constraint=False
    )
    campaign = models.ForeignKey(
        "segmentation.Campaign",
        verbose_name=_("campaign"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="redemptions",
        db_constraint=False,
    )
    grant_number = models.BigIntegerField(_("given as"), null=True, blank=True)
    code = models.CharField(_("code"), max_length=64, blank=True)
    discount_minor = models.BigIntegerField(_("discount"), default=0)
    redeemed_at = models.DateTimeField(_("redeemed"))

    class Meta:
        verbose_name = _("redemption")
        verbose_name_plural = _("redemptions")
        constraints = [
            models.UniqueConstraint(fields=["event", "offer"], name="offer_is_redeemed_once_an_order")
        ]

    def __str__(self) -> str:
        return f"{self.offer_id} by {self.customer_id}"
