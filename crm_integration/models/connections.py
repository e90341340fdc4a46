from __future__ import annotations

import json

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from segmentation.crypto import EncryptedTextField

# Decrypted whenever they are read: queries that only want to name a connection leave them out.
SECRETS = ("inbound_secret", "inbound_secret_previous", "outbound_secret", "outbound_secret_previous")


class Connection(models.Model):
    """A CRM, store or receiver: how its messages are verified and where decisions go."""

    class Via(models.TextChoices):
        HTTP = "http", _("Web address")
        EXCHANGE = "exchange", _("Message broker")
        VENDOR = "vendor", _("The CRM's own API")

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

    reads_queue = models.BooleanField(
        _("reads its queue"), default=False, help_text=_("Takes events from a queue of the message broker.")
    )
    queue_must_sign = models.BooleanField(
        _("queue messages must be signed"),
        default=True,
        help_text=_("With the signing secret, besides the broker's own login."),
    )
    may_start_jobs = models.BooleanField(
        _("may start jobs"),
        default=False,
        help_text=_("Its messages may ask for a training or a classification."),
    )
    job_topics = models.JSONField(
        _("topics that start jobs"),
        default=dict,
        blank=True,
        help_text=_(
            'The sender\'s own topics and what they mean, such as {"bulk.loaded": "import.finished"}.'
        ),
    )

    sends_outbound = models.BooleanField(_("sends decisions"), default=False)
    outbound_via = models.CharField(_("deliver by"), max_length=10, choices=Via, default=Via.HTTP)
    outbound_url = models.URLField(_("deliver to"), max_length=500, blank=True)
    outbound_secret = EncryptedTextField(_("delivery secret"), blank=True)
    outbound_secret_previous = EncryptedTextField(_("previous delivery secret"), blank=True)
    outbound_previous_until = models.DateTimeField(
        _("previous delivery secret signs until"), null=True, blank=True, editable=False
    )
    # What the kind needs (adapters/needs.py): the readable part, and the API's credentials as encrypted JSON.
    options = models.JSONField(default=dict, blank=True, editable=False)
    api_credentials = EncryptedTextField(blank=True, editable=False)
    # What is written to the CRM's records and under which names (pushed_values.py); what is missing has its default.
    push = models.JSONField(default=dict, blank=True, editable=False)
    # The breaker: failures since the last success, and until when nothing is tried.
    failures = models.PositiveIntegerField(default=0, editable=False)
    rests_until = models.DateTimeField(_("rests until"), null=True, blank=True, editable=False)
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    disabled_reason = models.CharField(_("why delivery stopped"), max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now())

    class Meta:
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(sends_outbound=False)
                | ~models.Q(outbound_url="")
                | models.Q(outbound_via__in=["exchange", "vendor"]),
                name="sender_has_an_address",
            ),
            models.CheckConstraint(
                condition=models.Q(may_start_jobs=False)
                | models.Q(reads_queue=False)
                | models.Q(queue_must_sign=True),
                name="jobs_are_asked_for_under_a_signature",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_resting(self) -> bool:
        """Whether the breaker holds deliveries back now."""
        return self.rests_until is not None and self.rests_until > timezone.now()

    @property
    def credentials(self) -> dict[str, str]:
        """The credentials of the CRM's API by name; empty when none are set."""
        return json.loads(self.api_credentials) if self.api_credentials else {}
