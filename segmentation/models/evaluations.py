from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from segmentation.models.leased import Leased


class EvaluationRun(Leased):
    """One request to judge targets on days or customers that the models have not seen; it registers nothing.

    report: as `evaluate --out` writes it, a list of one object a family. predictions: a stored file
    (segmentation/stored_files.py) with every answer, or "".
    """

    targets = models.ManyToManyField(
        "segmentation.Target", verbose_name=_("targets"), related_name="evaluations"
    )
    preset = models.CharField(_("preset"), max_length=20, default="default")
    origins = models.JSONField(
        _("days to test on"), default=list, blank=True, help_text=_("ISO dates; empty: the latest possible.")
    )
    folds = models.PositiveSmallIntegerField(_("folds"), default=0)
    seed = models.PositiveIntegerField(_("seed"), default=1)
    rounds = models.PositiveIntegerField(
        _("bootstrap rounds"), default=1000, validators=[MinValueValidator(1)]
    )
    config = models.JSONField(_("configuration"), default=dict, blank=True)
    report = models.JSONField(_("report"), default=list, blank=True)
    predictions = models.CharField(max_length=200, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("evaluation")
        verbose_name_plural = _("evaluations")

    def __str__(self) -> str:
        return f"#{self.pk}"
