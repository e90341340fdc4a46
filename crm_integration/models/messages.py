from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm_integration.models.connections import Connection
from segmentation.models.leased import Leased


class InboundMessage(Leased):
    """A delivery as it came, stored before anything is done with it. `body` is the raw, verified bytes.

    `headers`: those that help to understand it (crm_integration/kept_headers.py).
    `detail`: {"created", "repeated", "erased", "rejected": counts, "rejections": [{"item", "reason"}, ...] and
    "customer_ids": [...] (the first few), "trace": where an unexpected error came from}.
    """

    class Outcome(models.TextChoices):
        RECORDED = "recorded", _("Recorded")
        PARTLY = "partly", _("Partly recorded")
        REJECTED = "rejected", _("Every item rejected")
        ERASED = "erased", _("Only of erased people")
        NOTHING_NEW = "nothing_new", _("Already known")
        UNKNOWN_TOPIC = "unknown_topic", _("Unknown topic")
        TEST = "test", _("Test message")
        UNREADABLE = "unreadable", _("Could not be read")
        ECHO = "echo", _("Our own change, told back")
        JOB_STARTED = "job_started", _("Job started")
        JOB_REFUSED = "job_refused", _("Job not started")

    connection = models.ForeignKey(
        Connection,
        verbose_name=_("connection"),
        on_delete=models.PROTECT,
        related_name="inbound",
        db_index=False,
    )
    dedupe_key = models.CharField(_("message id"), max_length=200)
    topic = models.CharField(_("topic"), max_length=100, blank=True)
    body = models.BinaryField(null=True)
    headers = models.JSONField(_("headers"), default=dict, blank=True)
    body_sha256 = models.CharField(max_length=64)
    events_created = models.PositiveIntegerField(_("events"), default=0)
    outcome = models.CharField(_("outcome"), max_length=20, choices=Outcome, blank=True)
    detail = models.JSONField(_("details"), default=dict, blank=True)
    received_at = models.DateTimeField(_("received"), db_default=Now())

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("received message")
        verbose_name_plural = _("received messages")
        # A connection's newest first, in place of an index on the connection alone.
        indexes = [
            *Leased.Meta.indexes,
            models.Index(fields=["connection", "id"], name="inbound_by_connection"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["connection", "dedupe_key"], name="message_is_received_once")
        ]
        permissions = [("view_message_body", "Can read personal data in messages")]

    def __str__(self) -> str:
        return f"{self.topic} {self.dedupe_key}"


class RefusedDelivery(models.Model):
    """Refused at the door, by day and reason; the body is not kept. `header_names` helps to find a wrong setup."""

    connection = models.ForeignKey(
        Connection, verbose_name=_("connection"), on_delete=models.CASCADE, related_name="refused"
    )
    day = models.DateField(_("day"))
    reason = models.CharField(_("reason"), max_length=64)
    count = models.PositiveIntegerField(_("how often"), default=0)
    header_names = models.JSONField(_("header names"), default=list)
    last_at = models.DateTimeField(_("last"), db_default=Now())

    class Meta:
        verbose_name = _("refused delivery")
        verbose_name_plural = _("refused deliveries")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "day", "reason"], name="refusals_count_by_day_and_reason"
            )
        ]

    def __str__(self) -> str:
        return f"{self.reason}: {self.count}"


class OutboundMessage(Leased):
    """A message to a receiver with an id that stays the same over retries. At least once, unordered.

    `subject_version` grows per customer, so a receiver can drop what is older than what it has.
    """

    connection = models.ForeignKey(
        Connection,
        verbose_name=_("connection"),
        on_delete=models.PROTECT,
        related_name="outbound",
        db_index=False,
    )
    message_id = models.CharField(_("message id"), max_length=100)
    topic = models.CharField(_("topic"), max_length=100)
    body = models.BinaryField()
    customer = models.ForeignKey(
        "segmentation.Customer",
        verbose_name=_("customer"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_constraint=False,
    )
    subject_version = models.BigIntegerField(_("version"), default=0)
    delivered_at = models.DateTimeField(_("delivered"), null=True, blank=True)
    # The process that claimed it last (segmentation/presence.py).
    process = models.IntegerField(null=True, editable=False)

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("sent message")
        verbose_name_plural = _("sent messages")
        indexes = [
            *Leased.Meta.indexes,
            models.Index(fields=["connection", "id"], name="outbound_by_connection"),
            models.Index(
                fields=["connection", "id"],
                name="outbound_dead",
                condition=models.Q(state="failed"),
            ),
            # Each connection has a queue of its own, however long the others are.
            models.Index(
                fields=["connection", "run_after"],
                name="outboundmessage_queue",
                condition=models.Q(state__in=["queued", "running"]),
            ),
            # Few at any time: whether somebody waits for a connection's answer is asked before every claim.
            models.Index(
                fields=["connection"], name="outboundmessage_running", condition=models.Q(state="running")
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["connection", "message_id"], name="message_is_sent_under_one_id")
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.message_id}"


class DeliveryAttempt(models.Model):
    message = models.ForeignKey(OutboundMessage, on_delete=models.CASCADE, related_name="delivery_attempts")
    number = models.PositiveIntegerField(_("attempt"))
    at = models.DateTimeField(_("when"), db_default=Now())
    status_code = models.PositiveSmallIntegerField(_("answer"), null=True, blank=True)
    duration_ms = models.PositiveIntegerField(_("milliseconds"), default=0)
    error = models.CharField(_("error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("delivery attempt")
        verbose_name_plural = _("delivery attempts")
        constraints = [models.UniqueConstraint(fields=["message", "number"], name="attempt_number_is_unique")]

    def __str__(self) -> str:
        return f"{self.number}: {self.status_code or self.error}"
