from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.crypto import EncryptedTextField

# Decrypted whenever they are read: queries that only want to name a connection leave them out.
SECRETS = ("inbound_secret", "inbound_secret_previous", "outbound_secret", "outbound_secret_previous")


class Connection(models.Model):
    """A CRM, store or receiver: how its messages are verified and where decisions go."""

    slug = models.SlugField(
        _("short name"), unique=True, max_length=64, help_text=_("Part of the webhook's address.")
    )
    name = models.CharField(_("name"), max_length=100)
    adapter = models.CharField(_("kind"), max_length=32, default="standard")
    is_active = models.BooleanField(_("active"), default=True)

    accepts_inbound = models.BooleanField(_("receives events"), default=True)
    inbound_secret = EncryptedTextField(_("signing secret"), blank=True)
    inbound_secret_previous = EncryptedTextField(_("previous signing secret"), blank=True)
    previous_secret_until = models.DateTimeField(_("previous secret valid until"), null=True, blank=True)

    sends_outbound = models.BooleanField(_("sends decisions"), default=False)
    outbound_url = models.URLField(_("deliver to"), max_length=500, blank=True)
    outbound_secret = EncryptedTextField(_("delivery secret"), blank=True)
    outbound_secret_previous = EncryptedTextField(_("previous delivery secret"), blank=True)
    outbound_previous_until = models.DateTimeField(
        _("previous delivery secret signs until"), null=True, blank=True, editable=False
    )
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    disabled_reason = models.CharField(_("why delivery stopped"), max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now())

    class Meta:
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(sends_outbound=False) | ~models.Q(outbound_url=""),
                name="sender_has_an_address",
            )
        ]

    def __str__(self) -> str:
        return self.name
