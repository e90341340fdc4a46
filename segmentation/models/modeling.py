from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.models.leased import Leased


class Target(models.Model):
    """What is predicted, over which horizon."""

    class Kind(models.TextChoices):
        CHURN = "churn", _("Stops buying")
        VALUE_TIER = "value_tier", _("Value tier")
        FUTURE_VALUE = "future_value", _("Future spend")
        CATEGORY = "category", _("A labelled category")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    horizon_days = models.PositiveIntegerField(
        _("horizon in days"),
        default=90,
        validators=[MinValueValidator(1)],
        help_text=_("How far ahead it looks."),
    )
    attribute = models.ForeignKey(
        "segmentation.AttributeDefinition",
        verbose_name=_("label column"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="targets",
    )
    settings = models.JSONField(_("settings"), default=dict, blank=True)
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("target")
        verbose_name_plural = _("targets")
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(kind="category") | models.Q(attribute__isnull=False),
                name="category_target_names_its_attribute",
            )
        ]

    def __str__(self) -> str:
        return self.name


class TrainingRun(Leased):
    """One request to train: targets, cutoffs, configuration, seed, and live progress."""

    targets = models.ManyToManyField(Target, through="TrainingRunTarget", related_name="training_runs")
    preset = models.CharField(_("preset"), max_length=20, default="default")
    config = models.JSONField(_("configuration"), default=dict, blank=True)
    cutoffs = models.JSONField(
        _("cutoffs"), default=list, blank=True, help_text=_("ISO dates; empty: chosen from the data.")
    )
    seed = models.PositiveIntegerField(_("seed"), default=1)
    as_of = models.DateField(_("data before"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    device = models.CharField(_("device"), max_length=32, blank=True)
    epochs = models.JSONField(
        _("epochs"), default=list, blank=True, help_text=_("Loss and validation metrics, one entry an epoch.")
    )
    summary = models.JSONField(_("summary"), default=dict, blank=True)

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("training run")
        verbose_name_plural = _("training runs")

    def __str__(self) -> str:
        return f"#{self.pk}"


class TrainingRunTarget(models.Model):
    """`is_active` while the run is not over: at most one active run a target."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="run_targets")
    target = models.ForeignKey(Target, on_delete=models.CASCADE, related_name="run_targets")
    is_active = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "target"], name="target_is_in_a_run_once"),
            models.UniqueConstraint(
                fields=["target"], condition=models.Q(is_active=True), name="one_active_training_run_a_target"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id}: {self.target_id}"


class ModelVersion(models.Model):
    """A trained, evaluated, stored model. The evaluated artifact is the one that is served."""

    number = models.PositiveIntegerField(_("version"), unique=True)
    algorithm = models.CharField(_("algorithm"), max_length=40)
    targets = models.ManyToManyField(Target, verbose_name=_("targets"), related_name="versions")
    training_run = models.ForeignKey(
        TrainingRun,
        verbose_name=_("training run"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="versions",
    )
    members = models.ManyToManyField(
        "self", verbose_name=_("members"), symmetrical=False, blank=True, related_name="member_of"
    )
    config = models.JSONField(_("configuration"), default=dict, blank=True)
    features = models.JSONField(_("features"), default=list)
    catalogue_version = models.CharField(max_length=32)
    context = models.ForeignKey(
        "segmentation.ShopContext", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    evaluation = models.JSONField(
        _("evaluation"), default=dict, help_text=_("By target slug: metrics, intervals, baselines, curves.")
    )
    data_snapshot = models.JSONField(_("data"), default=dict, help_text=_("Counts, cutoffs, hash."))
    seed = models.PositiveIntegerField(_("seed"), default=1)
    threads = models.PositiveSmallIntegerField(_("threads"), default=1)
    device = models.CharField(_("device"), max_length=32, default="cpu")
    artifact_sha256 = models.CharField(_("artifact hash"), max_length=64)
    artifact_bytes = models.PositiveBigIntegerField(_("artifact size"), default=0)
    # Retention took the files; the row and its figures stay (segmentation/retention.py).
    artifact_deleted_at = models.DateTimeField(_("model file deleted"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), db_default=Now())

    class Meta:
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"v{self.number} ({self.algorithm})"


class ArtifactChunk(models.Model):
    """A piece (at most 1 MiB) of one file of a version's artifact; written with the version in one transaction."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="chunks")
    file_name = models.CharField(max_length=200)
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["version", "file_name", "number"], name="artifact_chunk_is_stored_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.version_id}/{self.file_name}/{self.number}"


class ModelSlot(models.Model):
    """The champion serves a target; the challenger waits for the comparison or for a person."""

    target = models.OneToOneField(
        Target, verbose_name=_("target"), on_delete=models.CASCADE, related_name="slot"
    )
    champion = models.ForeignKey(
        ModelVersion,
        verbose_name=_("champion"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="champion_of",
    )
    challenger = models.ForeignKey(
        ModelVersion,
        verbose_name=_("challenger"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="challenger_of",
    )

    class Meta:
        verbose_name = _("model slot")
        verbose_name_plural = _("model slots")

    def __str__(self) -> str:
        return f"{self.target_id}: {self.champion_id}"


class Promotion(models.Model):
    """A champion replaced another, by policy or by a person; roll back is the same move backwards."""

    slot = models.ForeignKey(ModelSlot, on_delete=models.CASCADE, related_name="promotions")
    old = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    new = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    is_rollback = models.BooleanField(default=False)
    reason = models.TextField(_("reason"), blank=True)
    promoted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    promoted_at = models.DateTimeField(_("when"), db_default=Now())

    class Meta:
        verbose_name = _("promotion")
        verbose_name_plural = _("promotions")

    def __str__(self) -> str:
        return f"{self.old_id} → {self.new_id}"


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
    `probabilities`: little-endian float64, one a class, for class targets.
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
