"""The form of a connection."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from crm_integration import addresses, broker, jobs
from crm_integration.adapters import registry
from crm_integration.models import Connection

NO_BROKER = _(
    "This installation runs on the embedded broker, which nobody outside can reach. Name RabbitMQ or Redis in "
    "CELERY_BROKER_URL first."
)


class ConnectionForm(forms.ModelForm):
    """Secrets are not here: they are made on the connection's page and shown once."""

    adapter = forms.ChoiceField(label=_("Kind"), choices=registry.choices, widget=UnfoldAdminSelectWidget)

    outbound_via = forms.ChoiceField(
        label=_("Deliver by"), choices=Connection.Via, required=False, widget=UnfoldAdminSelectWidget
    )

    class Meta:
        model = Connection
        fields = (
            "name",
            "slug",
            "adapter",
            "is_active",
            "accepts_inbound",
            "reads_queue",
            "queue_must_sign",
            "may_start_jobs",
            "job_topics",
            "sends_outbound",
            "outbound_via",
            "outbound_url",
        )

    def clean_outbound_url(self) -> str:
        url: str = self.cleaned_data["outbound_url"]
        if url:
            try:
                addresses.check(url)
            except addresses.AddressRefused as refusal:
                raise ValidationError(str(refusal)) from refusal
        return url

    def clean_reads_queue(self) -> bool:
        if self.cleaned_data["reads_queue"] and not broker.is_there():
            raise ValidationError(str(NO_BROKER))
        return bool(self.cleaned_data["reads_queue"])

    def clean_job_topics(self) -> dict[str, str]:
        """An empty box is no topics."""
        topics = self.cleaned_data["job_topics"] or {}
        if not isinstance(topics, dict) or any(meaning not in jobs.TOPICS for meaning in topics.values()):
            raise ValidationError(
                _("Write {“the sender’s topic”: “what it means”}; what it means is one of: %(known)s."),
                params={"known": ", ".join(jobs.TOPICS)},
            )
        return topics

    def clean_outbound_via(self) -> str:
        """The web address where the form does not say."""
        via: str = self.cleaned_data["outbound_via"] or Connection.Via.HTTP
        if via == Connection.Via.EXCHANGE and not broker.is_there():
            raise ValidationError(str(NO_BROKER))
        return via

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if (
            cleaned.get("may_start_jobs")
            and cleaned.get("reads_queue")
            and not cleaned.get("queue_must_sign")
        ):
            self.add_error(
                "queue_must_sign", _("A connection that may start jobs must sign what it sends by queue.")
            )
        if (
            cleaned.get("sends_outbound")
            and cleaned.get("outbound_via") != Connection.Via.EXCHANGE
            and not cleaned.get("outbound_url")
            and "outbound_url" not in self.errors
        ):
            self.add_error("outbound_url", _("Say where decisions are to be delivered."))
        return cleaned
