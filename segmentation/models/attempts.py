"""What a training leaves behind on its way: states to go on from, and settings that were tried."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.models.modeling import TrainingRun


class TrainingCheckpoint(models.Model):
    """A finished learner, or a network at the end of an epoch, of a run that is not over (segmentation/checkpoints.py).

    fingerprint: hash of rows, settings and seed; a state that was learned from anything else is not gone on from.
    """

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="checkpoints")
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    seconds = models.FloatField(default=0)
    content = models.BinaryField()
    written_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="training_checkpoint_is_kept_once_a_key")
        ]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.key}"


class SearchTrial(models.Model):
    """One set of settings tried on the tuning days of a run, and how well it answered there; lower is better."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="trials")
    family = models.CharField(max_length=200, help_text=_("Short names of the targets."))
    learner = models.CharField(_("algorithm"), max_length=40)
    number = models.PositiveIntegerField(_("trial"))
    fingerprint = models.CharField(max_length=64)
    settings = models.JSONField(_("settings"), default=dict)
    loss = models.FloatField(_("loss on the tuning days"), null=True)
    error = models.TextField(_("what went wrong"), blank=True)
    seconds = models.FloatField(_("seconds"), default=0)

    class Meta:
        verbose_name = _("trial")
        verbose_name_plural = _("trials")
        ordering = ["run", "family", "learner", "number"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "family", "learner", "number"], name="trial_of_a_learner_is_numbered_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.learner}/{self.number}"
