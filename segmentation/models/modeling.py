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
        NEXT_ORDER = "next_order", _("Days to the next order")
        RISK = "risk", _("Risk")
        CLUSTERS = "clusters", _("Groups of similar customers")
        NEXT_PRODUCTS = "next_products", _("Products bought next")
        UPLIFT = "uplift", _("Effect of an offer")

    class Promotes(models.TextChoices):
        CLEAR_GAIN = (
            "clear_gain",
            _("By itself, when clearly better: the whole interval above zero and no worse calibrated"),
        )
        NO_LOSS = (
            "no_loss",
            _("By itself, when better and a loss beyond a small margin is ruled out"),
        )
        BY_HAND = "by_hand", _("Never by itself: a person promotes")

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
    # What the effect is of: a campaign's, or that of an offer in whatever campaign.
    campaign = models.ForeignKey(
        "segmentation.Campaign",
        verbose_name=_("effect of the campaign"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="targets",
    )
    offer = models.ForeignKey(
        "segmentation.Offer",
        verbose_name=_("effect of the offer"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="targets",
    )
    settings = models.JSONField(_("settings"), default=dict, blank=True)
    is_active = models.BooleanField(_("active"), default=True)
    promotes = models.CharField(
        _("a better version serves"),
        max_length=16,
        choices=Promotes,
        default=Promotes.CLEAR_GAIN,
        help_text=_("The first version of a target serves in any case."),
    )
    min_orders = models.PositiveSmallIntegerField(
        _("orders needed for a score"),
        default=1,
        validators=[MinValueValidator(1)],
        help_text=_(
            "Customers with fewer have no score, with this as the reason. Of no effect on a category."
        ),
    )

    class Meta:
        verbose_name = _("target")
        verbose_name_plural = _("targets")
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(kind="category") | models.Q(attribute__isnull=False),
                name="category_target_names_its_attribute",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind="uplift")
                | (models.Q(campaign__isnull=False) ^ models.Q(offer__isnull=False)),
                name="uplift_target_names_its_campaign_or_offer",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class TrainingRun(Leased):
    """One request to train: targets, cutoffs, configuration, seed, and live progress."""

    class Cause(models.TextChoices):
        PERSON = "person", _("asked for")
        SCHEDULE = "schedule", _("by schedule")
        DRIFT = "drift", _("what customers do has moved")
        OUTCOME = "outcome", _("answers did not come true")

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
    cause = models.CharField(_("cause"), max_length=10, choices=Cause, default=Cause.PERSON)
    cause_note = models.TextField(_("because"), blank=True)
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
    reference = models.JSONField(
        default=dict,
        blank=True,
        help_text=_("Distributions it learned and was tested on (segmentation/monitoring.py)."),
    )
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


class ModelCheck(models.Model):
    """How a serving version did on a day: its inputs and answers beside those it was judged on, later what came of them.

    features: stability index by feature. answers: that of its answers. outcome: see segmentation/outcomes.py; null
    while the horizon has not passed, {} where no answer was kept.
    """

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="checks")
    target = models.ForeignKey(Target, on_delete=models.CASCADE, related_name="+")
    as_of = models.DateField(_("as of"))
    customers = models.PositiveIntegerField(_("customers"))
    features = models.JSONField(default=dict)
    answers = models.FloatField(null=True)
    outcome = models.JSONField(null=True)

    class Meta:
        verbose_name = _("model check")
        verbose_name_plural = _("model checks")
        constraints = [
            models.UniqueConstraint(fields=["version", "target", "as_of"], name="one_model_check_a_day")
        ]

    def __str__(self) -> str:
        return f"{self.version_id}/{self.target_id} {self.as_of}"


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
