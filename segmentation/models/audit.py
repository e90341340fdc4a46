from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class AppendOnlyError(Exception):
    """Audit rows are written once."""


class AuditEntry(models.Model):
    """Who did what, when. Holds ids and the names of changed fields, never contact values or secrets."""

    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("who"),
        null=True,
        blank=True,
        # Who did something stays known: such an account is switched off, not deleted.
        on_delete=models.PROTECT,
        related_name="+",
    )
    action = models.CharField(_("what"), max_length=64)
    object_type = models.CharField(_("on"), max_length=64, blank=True)
    object_id = models.CharField(_("id"), max_length=64, blank=True)
    detail = models.JSONField(_("details"), default=dict, blank=True)
    at = models.DateTimeField(_("when"), db_default=Now())

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes = [
            models.Index(fields=["object_type", "object_id", "id"], name="audit_by_object"),
            models.Index(fields=["object_id", "id"], name="audit_by_object_id"),
            models.Index(fields=["action", "id"], name="audit_by_action"),
            models.Index(fields=["actor", "id"], name="audit_by_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_type} {self.object_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise AppendOnlyError("an audit entry cannot be changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("an audit entry cannot be deleted")

    @classmethod
    def record(
        cls, action: str, obj: models.Model | None = None, *, actor: Any = None, **detail: Any
    ) -> AuditEntry:
        """Write one entry; `detail` must be JSON and free of contact values."""
        return cls.objects.create(
            actor=actor if getattr(actor, "is_authenticated", False) else None,
            action=action,
            object_type=obj._meta.label_lower if obj is not None else "",
            object_id=str(obj.pk) if obj is not None else "",
            detail=detail,
        )


class AuditOpening(models.Model):
    """While it stands, within one transaction, words may leave the entries of this object (see audit_guard)."""

    object_type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["object_id", "object_type"], name="audit_opening_object")]

    def __str__(self) -> str:
        return f"{self.object_type} {self.object_id}"
