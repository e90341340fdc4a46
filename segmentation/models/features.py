from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.models.leased import Leased


class ShopContext(models.Model):
    """Shop-wide numbers (purchase-model parameters, season levels, cut points) from events before `as_of`."""

    as_of = models.DateField(_("as of"))
    catalogue_version = models.CharField(max_length=32)
    data = models.JSONField(_("numbers"))
    created_at = models.DateTimeField(_("created"), db_default=Now())

    class Meta:
        verbose_name = _("shop context")
        verbose_name_plural = _("shop contexts")
        get_latest_by = "id"
        indexes = [models.Index(fields=["as_of"], name="context_by_date")]

    def __str__(self) -> str:
        return f"{self.as_of}"


class CustomerFeatures(models.Model):
    """A customer's features as of a day: little-endian float64, in the order of the catalogue version."""

    customer = models.OneToOneField(
        "segmentation.Customer",
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="features",
        db_constraint=False,
    )
    as_of = models.DateField(_("as of"))
    input_version = models.BigIntegerField(default=0)
    catalogue_version = models.CharField(max_length=32)
    context = models.ForeignKey(
        ShopContext, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    vector = models.BinaryField()

    class Meta:
        verbose_name = _("customer features")
        verbose_name_plural = _("customer features")

    def __str__(self) -> str:
        return f"features of customer {self.customer_id} as of {self.as_of}"


class FeaturePortrait(models.Model):
    """How the features are spread over a sample of customers, drawn when everybody was last classified; one row."""

    as_of = models.DateField(_("as of"))
    catalogue_version = models.CharField(max_length=32)
    customers = models.PositiveIntegerField(_("customers"))
    data = models.JSONField(_("numbers"), help_text=_("By feature: see segmentation/features/portrait.py."))
    created_at = models.DateTimeField(_("created"), db_default=Now())

    class Meta:
        verbose_name = _("feature portrait")
        verbose_name_plural = _("features")

    def __str__(self) -> str:
        return f"{self.as_of}"


class DueCustomer(Leased):
    """Something changed for this customer: rescore. `generation` grows with each change while it waits."""

    customer = models.OneToOneField(
        "segmentation.Customer", on_delete=models.CASCADE, related_name="due", db_constraint=False
    )
    generation = models.BigIntegerField(default=1)
    cause = models.CharField(max_length=64, blank=True)

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("customer to rescore")
        verbose_name_plural = _("customers to rescore")

    def __str__(self) -> str:
        return f"customer {self.customer_id} is due"
