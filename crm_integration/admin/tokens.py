"""Tokens of the REST door: made here, shown once, listed without secrets, revoked with one click."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from crm_integration import tokens
from crm_integration.models import ApiToken, Connection, Scope
from segmentation.admin.base import View, badge, post_only
from segmentation.admin.shown import ShownAdmin, ShownForm, with_seen
from segmentation.dashboard import words


class TokenForm(forms.ModelForm):
    """What a token may do is settled when it is made: whoever holds it cannot gain more later."""

    scopes = forms.MultipleChoiceField(
        label=_("May"), choices=Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )

    # One field for date and time: the theme's pair of them is wider than a phone.
    expires_at = forms.DateTimeField(
        label=_("Valid until"),
        required=False,
        help_text=_("Empty: for good."),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
    )

    class Meta:
        model = ApiToken
        fields = ("name", "scopes", "connection", "expires_at", "per_minute")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "connection" in self.fields:
            self.fields["connection"].queryset = Connection.objects.filter(adapter=tokens.WRITES_AS)  # type: ignore[attr-defined]

    def clean_expires_at(self) -> Any:
        until = self.cleaned_data["expires_at"]
        if until is not None and until <= timezone.now():
            raise ValidationError(_("This time has passed."))
        return until

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("scopes") and (
            problem := tokens.problem_with(cleaned["scopes"], cleaned.get("connection"))
        ):
            self.add_error("connection", problem)
        return cleaned


@admin.register(ApiToken)
class ApiTokenAdmin(ShownAdmin):
    form = TokenForm
    list_display = ("name", "begins_with", "state_badge", "connection", "may", "last_used_at")
    list_select_related = ("connection",)
    search_fields = ("name", "prefix")
    change_form_outer_before_template = "crm_integration/token_head.html"
    fieldsets = (
        (None, {"fields": ("name", "scopes")}),
        (_("Limits"), {"fields": ("connection", "expires_at", "per_minute")}),
    )
    _later = (
        (None, {"fields": ("name", "per_minute", "may", "connection", "expires_at")}),
        (_("Use"), {"fields": (("created_at", "created_by"), ("last_used_at", "revoked_at"))}),
    )
    _settled = ("may", "connection", "expires_at", "created_at", "created_by", "last_used_at", "revoked_at")

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/revoke/", self.revoke_view, "revoke")]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """A filter typed into the address must not spell out a hash."""
        return not lookup.startswith("secret") and super().lookup_allowed(lookup, value, request)

    def get_fieldsets(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return with_seen(self._later) if obj else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        return self._settled if obj else ()

    def get_form(
        self, request: HttpRequest, obj: ApiToken | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Afterwards only the name and the pace can be changed."""
        if obj is not None:
            kwargs["form"] = ShownForm
        return super().get_form(request, obj, change=change, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Revoked ones stay, so that the audit names something."""
        return False

    # --- columns
    @admin.display(description=_("begins with"))
    def begins_with(self, token: ApiToken) -> str:
        return f"tw_{token.prefix}_…"

    @admin.display(description=_("state"))
    def state_badge(self, token: ApiToken) -> SafeString:
        return badge(*state(token))

    @admin.display(description=_("may"))
    def may(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    # --- pages
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        token = ApiToken.objects.filter(pk=object_id).first() if object_id else None
        facts = {"token": token, "state": state(token)} if token is not None else {}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **facts})

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        request.new_token = tokens.save_new(obj, by=request.user)  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The text of a new token, on the page that answers: nothing keeps it."""
        page = self.page(
            request,
            "crm_integration/token.html",
            title=_t("Copy this now: %(token)s") % {"token": obj.name},
            token=obj,
            text=request.new_token,  # type: ignore[attr-defined]
        )
        page["Cache-Control"] = "no-store"
        return page

    # --- buttons
    @post_only("crm_integration.change_apitoken")
    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        token = get_object_or_404(ApiToken, pk=pk)
        if tokens.revoke(token, by=request.user):
            messages.success(request, _t("The token is revoked. It opens nothing any more."))
        return self.back_to(token)


def state(token: ApiToken) -> tuple[words.Text, str]:
    """(words, tone) for the badge."""
    if token.revoked_at is not None:
        return _("Revoked"), "bad"
    if tokens.state_problem(token, now=timezone.now()):
        return _("Expired"), "warn"
    return _("Valid"), "good"
