from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class ProductSuggestion(models.Model):
    """The products that a customer is likely to buy next, the likeliest first: [[product id, score], …].

    Written for everybody when a version starts to serve and after each classification (segmentation/suggestions.py).
    """

    pk = models.CompositePrimaryKey("customer_id", "target_id")
    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="suggestions",
        db_constraint=False,
        db_index=False,
    )
    target = models.ForeignKey(
        "segmentation.Target", on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    version = models.ForeignKey(
        "segmentation.ModelVersion",
        on_delete=models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    as_of = models.DateField(_("as of"))
    products = models.JSONField(_("products"), default=list)

    class Meta:
        verbose_name = _("suggested products")
        verbose_name_plural = _("suggested products")

    def __str__(self) -> str:
        return f"{self.customer_id}/{self.target_id}"
