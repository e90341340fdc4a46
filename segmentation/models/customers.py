from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class PriorityLevel(models.IntegerChoices):
    LOW = 1, _("Low")
    NORMAL = 2, _("Normal")
    HIGH = 3, _("High")
    URGENT = 4, _("Urgent")


class Customer(models.Model):
    """A person as the shop knows them. No contact data here; headline columns serve lists and filters."""

    reference = models.CharField(
        _("customer"), max_length=128, unique=True, help_text=_("The id that the shop uses.")
    )
    country = models.CharField(_("country"), max_length=64, blank=True)
    channel = models.CharField(_("channel"), max_length=64, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True)
    signed_up_at = models.DateTimeField(_("signed up"), null=True, blank=True)
    created_at = models.DateTimeField(_("known since"), db_default=Now())
    merged_into = models.ForeignKey(
        "self",
        verbose_name=_("merged into"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="merged_from",
        db_index=False,
    )
    input_version = models.BigIntegerField(default=0, editable=False)
    is_profiled = models.BooleanField(_("profiled"), default=True)
    holdout_key = models.CharField(max_length=64, blank=True, editable=False)

    # Headline columns: copies of the current results, written by scoring only.
    tier = models.CharField(_("value tier"), max_length=32, blank=True)
    churn_probability = models.FloatField(_("chance to stop buying"), null=True, blank=True)
    future_value_minor = models.BigIntegerField(_("expected spend"), null=True, blank=True)
    orders = models.PositiveIntegerField(_("orders"), default=0)
    spent_minor = models.BigIntegerField(_("spent"), default=0)
    first_order_at = models.DateTimeField(_("first order"), null=True, blank=True)
    last_order_at = models.DateTimeField(_("last order"), null=True, blank=True)
    priority = models.PositiveSmallIntegerField(
        _("service priority"), choices=PriorityLevel, default=PriorityLevel.NORMAL
    )
    current_offer = models.ForeignKey(
        "segmentation.Offer",
        verbose_name=_("current offer"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    scored_as_of = models.DateField(_("scored as of"), null=True, blank=True)
    scored_version = models.BigIntegerField(default=-1, editable=False)
    abstain_reason = models.CharField(_("why no score"), max_length=64, blank=True)
    # When another tier took the place of an earlier one; null while the first one stands.
    tier_changed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("customer")
        verbose_name_plural = _("customers")
        permissions = [
            ("erase_customer", "Can erase a person for good"),
            ("export_customer_data", "Can hand out everything held about a person"),
            ("merge_customer", "Can merge and split customers"),
            ("export_customer_list", "Can take lists of customers out of the console"),
        ]
        indexes = [
            models.Index(fields=["tier", "id"], name="customer_by_tier"),
            models.Index(fields=["churn_probability", "id"], name="customer_by_churn"),
            models.Index(fields=["future_value_minor", "id"], name="customer_by_value"),
            models.Index(fields=["priority", "id"], name="customer_by_priority"),
            models.Index(fields=["country", "id"], name="customer_by_country"),
            models.Index(fields=["last_order_at", "id"], name="customer_by_last_order"),
            models.Index(fields=["orders", "id"], name="customer_by_orders"),
            models.Index(
                fields=["merged_into"],
                name="customer_by_survivor",
                condition=models.Q(merged_into__isnull=False),
            ),
            models.Index(
                fields=["current_offer", "id"],
                name="customer_by_offer",
                condition=models.Q(current_offer__isnull=False),
            ),
            models.Index(
                fields=["tier_changed_at"],
                name="customer_by_new_tier",
                condition=models.Q(tier_changed_at__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(merged_into=models.F("id")), name="customer_not_merged_into_itself"
            )
        ]

    def __str__(self) -> str:
        return self.reference


class CustomerIdentity(models.Model):
    """Another id under which a source knows the customer (a CRM's id, a store's id, an e-mail's blind index)."""

    customer = models.ForeignKey(
        Customer, verbose_name=_("customer"), on_delete=models.CASCADE, related_name="identities"
    )
    namespace = models.CharField(_("source"), max_length=64)
    value = models.CharField(_("id there"), max_length=200)
    created_at = models.DateTimeField(_("known since"), db_default=Now())

    class Meta:
        verbose_name = _("identity")
        verbose_name_plural = _("identities")
        constraints = [
            models.UniqueConstraint(fields=["namespace", "value"], name="identity_belongs_to_one_customer")
        ]

    def __str__(self) -> str:
        return f"{self.namespace}: {self.value}"


class AttributeDefinition(models.Model):
    """A column of the shop's own: typed, dated, and usable as a feature, a rule field or a label."""

    class Kind(models.TextChoices):
        NUMBER = "number", _("Number")
        TEXT = "text", _("Text")
        CHOICE = "choice", _("One of a list")
        BOOLEAN = "boolean", _("Yes or no")
        DATE = "date", _("Date")

    slug = models.SlugField(_("short name"), unique=True)
    label = models.CharField(_("label"), max_length=100)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    description = models.TextField(_("description"), blank=True)
    is_feature = models.BooleanField(_("learn from it"), default=False)
    is_rule_field = models.BooleanField(_("usable in rules"), default=True)
    is_label = models.BooleanField(_("can be predicted"), default=False)
    choices = models.JSONField(_("choices"), default=list, blank=True)

    class Meta:
        verbose_name = _("attribute")
        verbose_name_plural = _("attributes")
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.label


class AttributeValue(models.Model):
    """A value from a time on. Numbers, yes/no (0, 1) and dates (days since 1970-01-01) are in `number`."""

    customer = models.ForeignKey(
        Customer, on_delete=models.CASCADE, related_name="attribute_values", db_index=False
    )
    definition = models.ForeignKey(AttributeDefinition, on_delete=models.CASCADE, related_name="values")
    valid_from = models.DateTimeField(_("valid from"))
    number = models.FloatField(_("number"), null=True, blank=True)
    text = models.CharField(_("text"), max_length=500, null=True, blank=True)

    class Meta:
        verbose_name = _("attribute value")
        verbose_name_plural = _("attribute values")
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "definition", "valid_from"], name="one_value_from_a_time_on"
            )
        ]

    def __str__(self) -> str:
        return f"{self.definition_id}: {self.text if self.text is not None else self.number}"


class Consent(models.Model):
    """What a customer allowed or refused, and when. The newest row of a purpose counts; refusals win ties."""

    class Purpose(models.TextChoices):
        MARKETING = "marketing", _("Marketing messages")
        PROFILING = "profiling", _("Profiling")

    class Status(models.TextChoices):
        GRANTED = "granted", _("Agreed")
        DENIED = "denied", _("Refused")

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="consents", db_index=False)
    purpose = models.CharField(_("purpose"), max_length=20, choices=Purpose)
    status = models.CharField(_("answer"), max_length=10, choices=Status)
    decided_at = models.DateTimeField(_("decided"))
    source = models.CharField(_("told by"), max_length=64, blank=True)

    class Meta:
        verbose_name = _("consent")
        verbose_name_plural = _("consents")
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "purpose", "decided_at"], name="one_consent_answer_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.purpose}: {self.status}"


class ContactData(models.Model):
    """Name, e-mail, phone: encrypted under a key of the customer's own. E-mail is found by blind index only."""

    customer = models.OneToOneField(
        Customer, primary_key=True, on_delete=models.CASCADE, related_name="contact"
    )
    data_key = models.BinaryField()
    sealed = models.BinaryField()
    email_index = models.CharField(max_length=64, blank=True, db_index=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("contact data")
        verbose_name_plural = _("contact data")

    def __str__(self) -> str:
        return f"contact data of customer {self.customer_id}"


class CustomerCounts(models.Model):
    """The shop in numbers as workers last counted it, and how long that took (segmentation/counts.py); one row."""

    content = models.JSONField()
    seconds = models.FloatField()
    counted_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("customer counts")
        verbose_name_plural = _("customer counts")
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="customer_counts_are_one_row")]

    def __str__(self) -> str:
        return f"{self.counted_at}"
