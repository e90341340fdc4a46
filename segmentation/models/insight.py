from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.models.leased import Leased


class PromotionDiff(Leased):
    """What would be different for customers if `version` served `target` instead of `champion` (null: nobody).

    result: see segmentation/promotion_diffs.py; null until a worker has worked it out.
    """

    target = models.ForeignKey("segmentation.Target", on_delete=models.CASCADE, related_name="+")
    version = models.ForeignKey(
        "segmentation.ModelVersion", on_delete=models.CASCADE, related_name="promotion_diffs"
    )
    champion = models.ForeignKey(
        "segmentation.ModelVersion", null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    result = models.JSONField(_("result"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("promotion preview")
        verbose_name_plural = _("promotion previews")
        constraints = [
            models.UniqueConstraint(
                fields=["target", "version"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_open_promotion_diff_a_target_and_version",
            )
        ]

    def __str__(self) -> str:
        return f"{self.target_id}: {self.champion_id} → {self.version_id}"


class CustomerMap(Leased):
    """A sample of customers as points of a plane, near each other where they behave alike.

    result: see segmentation/maps.py; null until a worker has drawn it.
    """

    class Method(models.TextChoices):
        PCA = "pca", _("Principal components (PCA): distances are true, detail is lost")
        TSNE = "tsne", _("t-SNE: neighbours are true, distances between groups mean nothing")

    method = models.CharField(_("method"), max_length=8, choices=Method)
    result = models.JSONField(_("result"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("map of customers")
        verbose_name_plural = _("maps of customers")
        constraints = [
            models.UniqueConstraint(
                fields=["method"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_open_customer_map_a_method",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk} ({self.method})"


class DemandOutlook(Leased):
    """What categories and products will be asked for in the coming weeks (segmentation/demand/).

    result: see segmentation/demand/outlooks.py; null until a worker has worked it out.
    """

    weeks = models.PositiveSmallIntegerField(_("weeks ahead"), default=4)
    result = models.JSONField(_("result"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("demand outlook")
        verbose_name_plural = _("demand outlooks")
        constraints = [
            models.UniqueConstraint(
                fields=["weeks"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_open_outlook_a_horizon",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk} ({self.weeks})"


class RuleCount(Leased):
    """A draft rule to be counted to the last customer by a worker (segmentation/exact_counts.py).

    key: of the question and of everything that its answer depends on but the customers. result: null until counted.
    """

    key = models.CharField(max_length=64, unique=True)
    rule = models.JSONField(_("rule"), null=True, blank=True)
    segment = models.ForeignKey(
        "segmentation.Segment", null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    result = models.JSONField(_("result"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("count of a draft rule")
        verbose_name_plural = _("counts of draft rules")

    def __str__(self) -> str:
        return self.key[:8]


class Explanation(models.Model):
    """An answer to a question about one score that is only worked out when somebody asks.

    It belongs to the score that it was found for (version, as_of, input_version); a newer score needs a new one.
    result: see segmentation/questions.py; null until a worker has found it.
    """

    class Kind(models.TextChoices):
        LIME = "lime", _("Reasons found by LIME")
        CHANGE = "change", _("What would change it")

    customer = models.ForeignKey(
        "segmentation.Customer", on_delete=models.CASCADE, related_name="explanations", db_constraint=False
    )
    target = models.ForeignKey("segmentation.Target", on_delete=models.CASCADE, related_name="+")
    version = models.ForeignKey("segmentation.ModelVersion", on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(_("question"), max_length=8, choices=Kind)
    wanted = models.CharField(_("wanted"), max_length=64, blank=True)
    as_of = models.DateField(_("as of"))
    input_version = models.BigIntegerField(default=0)
    result = models.JSONField(_("result"), null=True, blank=True)
    asked_at = models.DateTimeField(_("asked"), db_default=Now())

    class Meta:
        verbose_name = _("explanation")
        verbose_name_plural = _("explanations")
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "target", "kind", "wanted"], name="one_explanation_a_question"
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer_id}/{self.target_id} {self.kind}"
