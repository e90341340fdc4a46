from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.models.leased import Leased
from segmentation.models.modeling import ModelVersion, Target


class ScoringRun(models.Model):
    """Classify every customer as of a day; pins context, versions and policy, and is cut into shards."""

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    as_of = models.DateField(_("as of"))
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.RUNNING)
    # Fitted by the first worker that needs it: the web process that starts a run stays light.
    context = models.ForeignKey(
        "segmentation.ShopContext", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    pinned_versions = models.JSONField(
        _("model versions"), default=dict, help_text=_("Target slug to version id.")
    )
    customers = models.PositiveIntegerField(_("customers"), default=0)
    summary = models.JSONField(_("summary"), default=dict, blank=True)
    error = models.TextField(_("what went wrong"), blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(_("started"), db_default=Now())
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("classification run")
        verbose_name_plural = _("classification runs")
        constraints = [
            models.UniqueConstraint(
                fields=["as_of"],
                condition=models.Q(state="running"),
                name="one_running_classification_a_date",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk} ({self.as_of})"


class ScoringShard(Leased):
    """A range of customer ids; `cursor` is the last id whose results are committed."""

    run = models.ForeignKey(ScoringRun, on_delete=models.CASCADE, related_name="shards")
    number = models.PositiveIntegerField()
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField()
    cursor = models.BigIntegerField(default=0)
    scored = models.PositiveIntegerField(default=0)

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("shard")
        verbose_name_plural = _("shards")
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="shard_number_is_unique_in_its_run")
        ]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.number}"


class Score(models.Model):
    """The current score of a customer for a target; values are rounded to 6 decimals.

    `value`: churn, the probability; future value, the mean in major units; classes, the probability of `label`.
    `probabilities`: little-endian float64, one a class, for class targets; of the time to the next order the chances
    of an order by the end of each span. Risk: `value` is the chance of the label, or how unusual, from 0 to 1.
    """

    pk = models.CompositePrimaryKey("customer_id", "target_id")
    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="scores",
        db_constraint=False,
        db_index=False,
    )
    target = models.ForeignKey(
        Target, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    as_of = models.DateField(_("as of"))
    input_version = models.BigIntegerField(default=0)
    value = models.FloatField(_("score"), null=True, blank=True)
    median = models.FloatField(_("median"), null=True, blank=True)
    lower = models.FloatField(_("from"), null=True, blank=True)
    upper = models.FloatField(_("to"), null=True, blank=True)
    label = models.CharField(_("class"), max_length=64, blank=True)
    probabilities = models.BinaryField(null=True, blank=True)
    abstain_reason = models.CharField(_("why no score"), max_length=64, blank=True)
    reasons = models.JSONField(
        _("reasons"), null=True, blank=True, help_text=_("Computed by a worker on request.")
    )

    class Meta:
        verbose_name = _("score")
        verbose_name_plural = _("scores")

    def __str__(self) -> str:
        return f"{self.customer_id}/{self.target_id}: {self.value}"


class ScoreHistory(models.Model):
    """Label changes and month-ends."""

    pk = models.CompositePrimaryKey("customer_id", "target_id", "as_of")
    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="score_history",
        db_constraint=False,
        db_index=False,
    )
    target = models.ForeignKey(
        Target, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    as_of = models.DateField(_("as of"))
    value = models.FloatField(_("score"), null=True)
    label = models.CharField(_("class"), max_length=64, blank=True)

    class Meta:
        verbose_name = _("earlier score")
        verbose_name_plural = _("earlier scores")

    def __str__(self) -> str:
        return f"{self.customer_id}/{self.target_id} {self.as_of}: {self.value}"


class InputSnapshot(models.Model):
    """What decisions saw of a customer: features, scores, segments, consent, stored once an input version.

    `content` is JSON whose keys are numbers of the policy's fields (segmentation/decisions/snapshots.py).
    """

    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="snapshots",
        db_constraint=False,
        db_index=False,
    )
    input_version = models.BigIntegerField()
    policy = models.ForeignKey(
        "segmentation.PolicyVersion",
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    as_of = models.DateField()
    content = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "input_version"], name="one_snapshot_an_input_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} at {self.input_version}"
