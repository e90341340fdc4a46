"""The form of a connection."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from crm_integration import addresses
from crm_integration.adapters import registry
from crm_integration.models import Connection


class ConnectionForm(forms.ModelForm):
    """Secrets are not here: they are made on the connection's page and shown once."""

    adapter = forms.ChoiceField(label=_("Kind"), choices=registry.choices, widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Connection
        fields = ("name", "slug", "adapter", "is_active", "accepts_inbound", "sends_outbound", "outbound_url")

    def clean_outbound_url(self) -> str:
        url: str = self.cleaned_data["outbound_url"]
        if url:
            try:
                addresses.check(url)
            except addresses.AddressRefused as refusal:
                raise ValidationError(str(refusal)) from refusal
        return url

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if (
            cleaned.get("sends_outbound")
            and not cleaned.get("outbound_url")
            and "outbound_url" not in self.errors
        ):
            self.add_error("outbound_url", _("Say where decisions are to be delivered."))
        return cleaned
