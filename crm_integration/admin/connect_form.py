"""The wizard's one form: a name, what the kind needs, and the secret where the vendor makes it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from crm_integration import connections
from crm_integration.adapters.base import Adapter
from crm_integration.admin.forms import ConnectionForm, form_for
from crm_integration.connections import Door
from crm_integration.models import Connection
from crm_integration.signatures import InvalidSecret
from segmentation.models import AuditEntry

MAX_SLUG = 60
# Of a secret, and how many one connection may hold where it holds several.
MOST_LETTERS, MOST_SECRETS = 256, 12


class _ConnectForm(ConnectionForm):
    adapter = None  # type: ignore[assignment]
    outbound_via = None  # type: ignore[assignment]
    seen = None  # type: ignore[assignment]
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("As staff will call it; the webhook's address is made from it."),
    )

    class Meta:
        model = Connection
        fields = ("name",)

    def clean_secret(self) -> str:
        secret: str = self.cleaned_data["secret"].strip()
        if secret and self.kind is not None:
            try:
                self.kind.check_secret(secret)
            except InvalidSecret as error:
                raise ValidationError(secret_rule(self.kind)) from error
        return secret

    @transaction.atomic
    def create(self, *, actor: Any) -> tuple[Connection, str]:
        """The connection, and its new signing secret where it is made here (else "")."""
        assert self.kind is not None
        row = Connection.objects.create(
            name=self.cleaned_data["name"], slug=_free_slug(self.cleaned_data["name"]), adapter=self.kind.slug
        )
        AuditEntry.record("created", row, actor=actor, fields=["adapter", "name"])
        if self.needs:
            connections.save_settings(
                row, options=self.options(), credentials=self.credentials(), actor=actor
            )
        given = self.cleaned_data.get("secret", "")
        if self.kind.secret_is_theirs and not given:
            return row, ""
        made = connections.set_secret(row, Door.INBOUND, secret=given, actor=actor)
        return row, "" if given else made


def connect_form(kind: Adapter) -> type[_ConnectForm]:
    """The form with this kind's fields, as the kind describes them."""
    described: Any = form_for(kind, None)
    needs = {name: one for name, one in described.declared_fields.items() if name.startswith("need_")}
    secret = forms.CharField(
        label=_("Signing secret"),
        required=False,
        max_length=MOST_LETTERS * (MOST_SECRETS if kind.has_several_secrets else 1),
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=str(kind.secret_hint),
    )
    own = {"secret": secret} if kind.secret_is_theirs else {}
    return type("ConnectForm", (_ConnectForm,), {**needs, **own, "needs": kind.needs, "kind": kind})


def secret_rule(kind: Adapter) -> Any:
    """What a secret of this kind looks like."""
    if kind.signs_by_standard:
        return _("A secret is whsec_ followed by base64 text of 24 to 64 bytes. Copy it whole.")
    if kind.has_several_secrets:
        return _("A secret is 8 to 256 characters. Copy each whole, with a space between two of them.")
    return _("A secret is 8 to 256 characters without spaces. Copy it whole.")


def _free_slug(name: str) -> str:
    wanted = slugify(name)[:MAX_SLUG] or "connection"
    taken = set(Connection.objects.filter(slug__startswith=wanted).values_list("slug", flat=True))
    if wanted not in taken:
        return wanted
    return next(
        f"{wanted}-{number}" for number in range(2, len(taken) + 3) if f"{wanted}-{number}" not in taken
    )
