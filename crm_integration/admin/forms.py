"""The form of a connection."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from crm_integration import addresses, broker, jobs
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.reading import BadField
from crm_integration.admin import push_form
from crm_integration.models import Connection
from segmentation.admin.shown import ShownForm

NO_BROKER = _(
    "This installation runs on the embedded broker, which nobody outside can reach. Name RabbitMQ or Redis in "
    "CELERY_BROKER_URL first."
)


class ConnectionForm(ShownForm):
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

    hidden = ("api_credentials",)
    needs: tuple[Need, ...] = ()
    kind: Adapter | None = None
    push: dict[str, Any] | None = None  # what to write to the CRM, where the posted form says so

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

    def _check_job_topics(self, cleaned: dict[str, Any]) -> None:
        """A message that starts a job is not read for anything else, so what it brings would be lost."""
        kind = registry.ADAPTERS.get(cleaned.get("adapter") or self.instance.adapter)
        brings = sorted(set(cleaned.get("job_topics") or ()) & set(kind.topics if kind else ()))
        if brings:
            self.add_error(
                "job_topics",
                _("These topics bring events or customers, so they cannot start a job: %(topics)s.")
                % {"topics": ", ".join(brings)},
            )

    def clean_outbound_via(self) -> str:
        """The web address where the form does not say."""
        via: str = self.cleaned_data["outbound_via"] or Connection.Via.HTTP
        if via == Connection.Via.EXCHANGE and not broker.is_there():
            raise ValidationError(str(NO_BROKER))
        return via

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        self._check_job_topics(cleaned)
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
            and cleaned.get("outbound_via") not in (Connection.Via.EXCHANGE, Connection.Via.VENDOR)
            and not cleaned.get("outbound_url")
            and "outbound_url" not in self.errors
        ):
            self.add_error("outbound_url", _("Say where decisions are to be delivered."))
        self._clean_needs(cleaned)
        self._clean_push(cleaned)
        return cleaned

    def _clean_push(self, cleaned: dict[str, Any]) -> None:
        kind = self.kind or registry.ADAPTERS.get(str(cleaned.get("adapter")))
        if cleaned.get("sends_outbound") and cleaned.get("outbound_via") == Connection.Via.VENDOR:
            if kind is None or kind.pushing is None:
                self.add_error(
                    "outbound_via", _("Records of this kind cannot be written to; choose a web address.")
                )
            elif self.kind is not None and not {**self.instance.credentials, **self.credentials()}:
                self.add_error("outbound_via", _("Enter the credentials of the CRM's API first."))
        if kind is not None and kind.pushing is not None and push_form.is_given(self.data):
            try:
                self.push = push_form.chosen(kind.pushing, cleaned)
            except ValidationError as problem:
                self.add_error(None, problem)

    def _clean_needs(self, cleaned: dict[str, Any]) -> None:
        for need in self.needs:
            problem = _problem(need, cleaned.get(field_name(need)))
            if problem:
                self.add_error(field_name(need), problem)
        if self.kind is None or self.errors:
            return
        try:
            self.options()
        except BadField as found:
            raise ValidationError(str(found)) from found

    def options(self) -> dict[str, Any]:
        """What is kept readable, by the names of the kind. Raises BadField."""
        told = self._told(secret=False)
        return self.kind.clean_options(told) if self.kind is not None else told

    def credentials(self) -> dict[str, str]:
        """What is encrypted; empty where nothing new was entered."""
        return self._told(secret=True)

    def _told(self, *, secret: bool) -> dict[str, Any]:
        told = {
            need.name: self.cleaned_data.get(field_name(need))
            for need in self.needs
            if need.is_secret is secret
        }
        return {name: value for name, value in told.items() if value not in (None, "")}


PREFIX = "need_"


def field_name(need: Need) -> str:
    return f"{PREFIX}{need.name}"


def form_for(kind: Adapter | None, connection: Connection | None) -> type[ConnectionForm]:
    """The form with the fields that this kind needs, filled with what is kept; secrets are never filled in."""
    needs = kind.needs if kind is not None else ()
    fields = {field_name(need): _field(need, connection) for need in needs}
    fields |= push_form.fields_for(kind if connection is not None else None, connection)
    return type("ConnectionForm", (ConnectionForm,), {**fields, "needs": needs, "kind": kind})


def _field(need: Need, connection: Connection | None) -> forms.Field:
    kept = (connection.options if connection is not None else {}).get(need.name)
    common: dict[str, Any] = {"label": need.label, "help_text": need.hint, "required": need.required}
    if need.is_secret:
        is_set = connection is not None and need.name in connection.credentials
        hint = _("It is set. Leave this empty to keep it.") if is_set else need.hint
        widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
        return forms.CharField(
            **{**common, "help_text": hint, "required": False}, widget=widget, max_length=500
        )
    common["initial"] = kept if kept is not None else need.default
    if need.field is Field.CHOICE:
        choices = [(name, name) for name in need.choices]
        return forms.ChoiceField(**common, choices=choices, widget=UnfoldAdminSelectWidget)
    if need.field is Field.NUMBER:
        limits: dict[str, Any] = {"min_value": need.least, "max_value": need.most}
        return forms.IntegerField(**common, **limits, widget=UnfoldAdminIntegerFieldWidget)
    return forms.CharField(**common, max_length=need.most, widget=UnfoldAdminTextInputWidget)


def _problem(need: Need, value: Any) -> Any:
    """Why this cannot be what is needed, or nothing."""
    if not isinstance(value, str) or not value:
        return ""
    if need.pattern and not re.fullmatch(need.pattern, value):
        return _("This does not look right. %(hint)s") % {"hint": need.hint}
    if need.field is Field.ADDRESS:
        try:
            addresses.check(value)
        except addresses.AddressRefused as refusal:
            return str(refusal)
    return ""
