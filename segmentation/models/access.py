"""Signing in: how often it was tried, and the second factor."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from segmentation.crypto import EncryptedTextField


class SignInTries(models.Model):
    """Failed tries of one account, address, device or pair of them; names and addresses stand here as pseudonyms alone."""

    key = models.CharField(max_length=64, primary_key=True)
    account = models.CharField(max_length=64, blank=True, db_index=True)
    address = models.CharField(max_length=64, blank=True, db_index=True)
    tries = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(db_index=True)
    blocked_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        verbose_name = _("tries to sign in")
        verbose_name_plural = _("tries to sign in")

    def __str__(self) -> str:
        return f"{self.key[:8]}: {self.tries}"


class SecondFactor(models.Model):
    """An authenticator app of one person. It counts from `confirmed_at` on, when a first code was right."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("person"),
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="second_factor",
    )
    secret = EncryptedTextField(_("secret"))
    confirmed_at = models.DateTimeField(_("set up"), null=True, blank=True)
    # The time step of the newest code that was taken: no code counts twice.
    last_step = models.BigIntegerField(default=-1)

    class Meta:
        default_permissions = ()
        verbose_name = _("second factor")
        verbose_name_plural = _("second factors")

    def __str__(self) -> str:
        return str(self.user_id)


class RecoveryCode(models.Model):
    """Signs in once when the app is lost; only its keyed hash is kept."""

    factor = models.ForeignKey(SecondFactor, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        verbose_name = _("recovery code")
        verbose_name_plural = _("recovery codes")
        constraints = [
            models.UniqueConstraint(fields=["factor", "digest"], name="recovery_code_once"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
