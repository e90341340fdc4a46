from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm_integration.models.connections import Connection


class Scope(models.TextChoices):
    """What a token may do at the REST door; the values are part of the documented interface (docs/api.md)."""

    CUSTOMERS_READ = "customers:read", _("Read customers: tier, risk, spend, segments")
    CUSTOMERS_WRITE = "customers:write", _("Tell about customers and their consent")
    CONTACT_READ = "contact:read", _("Read contact data, find by e-mail")
    EVENTS_READ = "events:read", _("Read events")
    EVENTS_WRITE = "events:write", _("Send events")
    PRODUCTS_READ = "products:read", _("Read products")
    SEGMENTS_READ = "segments:read", _("Read segments and their members")
    SCORES_READ = "scores:read", _("Read scores")
    DECISIONS_READ = "decisions:read", _("Read decisions and next actions")
    OFFERS_READ = "offers:read", _("Read offers")
    MODELS_READ = "models:read", _("Read model versions")
    DELIVERIES_READ = "deliveries:read", _("Read deliveries")
    JOBS_READ = "jobs:read", _("Read trainings, classifications and imports")
    JOBS_RUN = "jobs:run", _("Start and cancel work such as trainings")
    IMPORTS_RUN = "imports:run", _("Bring in files of customers and events")
    PRIVACY_RUN = "privacy:run", _("Export and erase people")


WRITING = frozenset({Scope.CUSTOMERS_WRITE, Scope.EVENTS_WRITE})
PER_MINUTE = 600


class ApiToken(models.Model):
    """A key to the REST door. The text is shown once and kept as a hash; `prefix` tells tokens apart in the open.

    `window` and `used` count the requests of the present minute, for whichever process answers them.
    """

    name = models.CharField(_("name"), max_length=100, help_text=_("Who uses it, and where it is kept."))
    prefix = models.CharField(_("begins with"), max_length=16, unique=True, editable=False)
    secret_sha256 = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(_("may"), default=list)
    connection = models.ForeignKey(
        Connection,
        verbose_name=_("writes as"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="tokens",
        help_text=_(
            "Where its events and customers come from. Needed to write; limits deliveries to its own."
        ),
    )
    per_minute = models.PositiveIntegerField(
        _("requests a minute"),
        default=PER_MINUTE,
        validators=[MinValueValidator(1), MaxValueValidator(100_000)],
    )
    expires_at = models.DateTimeField(
        _("valid until"), null=True, blank=True, help_text=_("Empty: for good.")
    )
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    window = models.BigIntegerField(default=0, editable=False)
    used = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("made by"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    created_at = models.DateTimeField(_("created"), db_default=Now())

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name


class StoredReply(models.Model):
    """What a request under an Idempotency-Key was answered, so that sending it again repeats the answer only."""

    token = models.ForeignKey(ApiToken, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=100)
    request_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "key"], name="one_reply_an_idempotency_key")]

    def __str__(self) -> str:
        return f"{self.token_id}: {self.status}"
