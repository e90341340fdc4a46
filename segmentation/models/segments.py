from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.models.edited import Edited


class Segment(Edited):
    class Kind(models.TextChoices):
        RULE = "rule", _("Rule")
        MODEL = "model", _("Model")
        LIST = "list", _("List kept by hand")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind, default=Kind.RULE)
    is_active = models.BooleanField(_("active"), default=True)
    # Whether there are entries by hand: without any, none are looked for.
    has_entries = models.BooleanField(default=False, db_default=False, editable=False)
    version = models.ForeignKey(
        "segmentation.SegmentVersion",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        editable=False,
    )
    member_count = models.PositiveIntegerField(_("members"), default=0, editable=False)
    refreshed_at = models.DateTimeField(_("refreshed"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now())

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class SegmentVersion(models.Model):
    """A rule as it was saved, by whom and when; versions are never edited (see segmentation/rules/language.py)."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    rule = models.JSONField(_("rule"))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(_("saved"), db_default=Now())
    restores = models.PositiveIntegerField(_("restores version"), null=True, blank=True)

    class Meta:
        verbose_name = _("segment version")
        verbose_name_plural = _("segment versions")
        constraints = [
            models.UniqueConstraint(fields=["segment", "number"], name="segment_version_number_is_unique")
        ]

    def __str__(self) -> str:
        return f"v{self.number}"


class ListEntry(models.Model):
    """A customer put into a segment by hand, or taken out: it holds whatever the segment's rule says."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="entries")
    customer = models.ForeignKey(
        "segmentation.Customer", on_delete=models.CASCADE, related_name="list_entries", db_constraint=False
    )
    is_member = models.BooleanField(_("is in it"), default=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(_("since"), db_default=Now())

    class Meta:
        verbose_name = _("entry by hand")
        verbose_name_plural = _("entries by hand")
        constraints = [
            models.UniqueConstraint(fields=["segment", "customer"], name="one_entry_a_segment_and_customer")
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} in {self.segment_id}: {self.is_member}"


class MembershipCause(models.IntegerChoices):
    BATCH = 1, _("Classification run")
    EVENT = 2, _("New event")
    EDIT = 3, _("Segment edited")


class Membership(models.Model):
    """Who is in a segment now, since when, and what brought them in.

    Nothing refers to a row by a number of its own: an index less to keep, of the table with the most rows.
    """

    pk = models.CompositePrimaryKey("segment_id", "customer_id")
    # A foreign key is checked row by row at each commit. `segments.held` keeps the segments there instead.
    segment = models.ForeignKey(
        Segment, on_delete=models.CASCADE, related_name="memberships", db_constraint=False, db_index=False
    )
    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="memberships",
        db_constraint=False,
        db_index=False,
    )
    entered_at = models.DateTimeField(_("since"), db_default=Now())
    entered_by = models.PositiveSmallIntegerField(
        _("cause"), choices=MembershipCause, db_default=MembershipCause.BATCH
    )

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        indexes = [models.Index(fields=["customer", "segment"], name="membership_by_customer")]

    def __str__(self) -> str:
        return f"{self.customer_id} in {self.segment_id}"


class PastMembership(models.Model):
    """A membership that is over; append-only. With those that last it says who was in on 1 March, and why."""

    segment = models.ForeignKey(
        Segment,
        on_delete=models.CASCADE,
        related_name="past_memberships",
        db_constraint=False,
        db_index=False,
    )
    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="past_memberships",
        db_constraint=False,
        db_index=False,
    )
    entered_at = models.DateTimeField(_("since"))
    entered_by = models.PositiveSmallIntegerField(_("cause"), choices=MembershipCause)
    left_at = models.DateTimeField(_("until"), db_default=Now())
    left_by = models.PositiveSmallIntegerField(_("cause of leaving"), choices=MembershipCause)

    class Meta:
        verbose_name = _("past membership")
        verbose_name_plural = _("past memberships")
        indexes = [
            models.Index(fields=["customer", "left_at"], name="past_membership_by_customer"),
            models.Index(fields=["segment", "left_at"], name="past_membership_by_segment"),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} was in {self.segment_id}"
