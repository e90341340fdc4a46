"""Messages in and out: what came, what it caused, what was sent, and the buttons to do it again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from crm_integration import inbox, outbox
from crm_integration.admin import bodies, words
from crm_integration.admin.body_page import SEE_BODY, BodyPage
from crm_integration.admin.inbound_page import InboundPage
from crm_integration.models import (
    Connection,
    DeliveryAttempt,
    InboundMessage,
    OutboundMessage,
    RefusedDelivery,
)
from segmentation.admin.base import ReadOnlyAdmin, View, badge, post_only
from segmentation.dashboard.words import NOTHING, STATE_TONES, moment
from segmentation.models import LeaseState


class MessageAdmin(BodyPage, ReadOnlyAdmin):
    """What both directions share. `again` repeats one message or raises `refusals`."""

    key_field: str
    refusals: type[Exception]
    again_label: Any
    again_question: Any = ""
    list_filter: Any = ("connection", ("state", ChoicesCheckboxFilter))
    actions: Any = None
    search_fields = ("pk",)
    search_help_text = _("The exact message id")
    list_select_related: Any = ("connection",)
    list_disable_select_all = False
    # Newest first and no other way: an index for each column would cost every message.
    sortable_by = ()
    ordering = ("-id",)
    change_form_outer_before_template = "crm_integration/message_head.html"

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """A filter typed into the address must not spell out a body that its reader may not see."""
        if lookup.split("__")[0] in {"body", "body_sha256"}:
            return False
        return super().lookup_allowed(lookup, value, request)

    def again(self, message: Any, *, actor: Any) -> None:
        raise NotImplementedError

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/again/", self.again_view, "again"), *self.body_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, term: str
    ) -> tuple[QuerySet, bool]:
        """By exact id within the connections there are, which the unique index answers; or by our own number."""
        term = term.strip()
        if not term:
            return queryset, False
        found = Q(
            connection__in=list(Connection.objects.values_list("pk", flat=True)), **{self.key_field: term}
        )
        if term.isascii() and term.isdigit() and len(term) < 19:
            found |= Q(pk=int(term))
        return queryset.filter(found), False

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        rows = super().get_queryset(request)
        page = request.resolver_match.url_name if request.resolver_match else ""
        return rows.defer("body") if page == f"crm_integration_{self.opts.model_name}_changelist" else rows

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        message = self.get_object(request, object_id) if object_id else None
        facts: dict[str, Any] = {}
        if message is not None:
            facts = {
                "tone": STATE_TONES[message.state],
                "body_text": bodies.shown(message.body, in_full=False),
                "see_body_url": self.url("body", message.pk)
                if message.body is not None and request.user.has_perm(SEE_BODY)
                else "",
                **self.page_facts(request, message),
                "again_url": self.url("again", message.pk)
                if message.is_over and self.may_repeat(request)
                else "",
                "again_label": self.again_label,
                "again_question": self.again_question,
            }
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **facts})

    def page_facts(self, request: HttpRequest, message: Any) -> dict[str, Any]:
        """What the page of one direction shows besides."""
        return {}

    def may_repeat(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"crm_integration.change_{self.opts.model_name}")

    def again_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        return post_only(f"crm_integration.change_{self.opts.model_name}")(type(self)._again)(
            self, request, pk
        )

    def _again(self, request: HttpRequest, pk: int) -> HttpResponse:
        message = get_object_or_404(self.model, pk=pk)
        self._repeat(request, [message])
        return self.back_to(message)

    def _repeat(self, request: HttpRequest, rows: Any) -> None:
        done, refused = 0, ""
        for message in rows:
            try:
                self.again(message, actor=request.user)
                done += 1
            except self.refusals as error:
                refused = str(error)
        if done:
            text = ngettext(
                "%(count)d message is queued again.", "%(count)d messages are queued again.", done
            )
            messages.success(request, text % {"count": done})
        if refused:
            self.refuse(request, refused)

    # --- columns
    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, message: Any) -> SafeString:
        return badge(message.get_state_display(), STATE_TONES[message.state])


@admin.register(InboundMessage)
class InboundMessageAdmin(InboundPage, MessageAdmin):
    key_field = "dedupe_key"
    refusals = inbox.NotReplayable
    again_label = _("Process again")
    list_display = (
        "received_at",
        "connection",
        "topic",
        "state_badge",
        "outcome_badge",
        "events_created",
        "dedupe_key",
    )
    list_filter = (*MessageAdmin.list_filter, ("outcome", ChoicesCheckboxFilter))
    actions = ("replay_selected",)
    fields = (
        ("connection", "topic"),
        ("received_at", "dedupe_key"),
        ("state_badge", "outcome_badge"),
        ("attempts", "finished_at"),
        "result",
        "rejections",
        "error",
    )
    readonly_fields = ("state_badge", "outcome_badge", "result", "rejections")

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [*super().extra_urls(), *self.inbound_urls()]

    def page_facts(self, request: HttpRequest, message: InboundMessage) -> dict[str, Any]:
        return self.inbound_facts(request, message)

    def again(self, message: InboundMessage, *, actor: Any) -> None:
        inbox.replay(message, actor=actor)

    @admin.action(description=_("Process again"), permissions=["repeat"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[InboundMessage]) -> None:
        self._repeat(request, queryset)

    def has_repeat_permission(self, request: HttpRequest) -> bool:
        return self.may_repeat(request)

    @admin.display(description=_("outcome"), ordering="outcome")
    def outcome_badge(self, message: InboundMessage) -> SafeString | str:
        tone = (
            words.OUTCOME_TONES.get(InboundMessage.Outcome(message.outcome), "plain")
            if message.outcome
            else ""
        )
        return badge(message.get_outcome_display(), tone) if message.outcome else "–"

    @admin.display(description=_("what it caused"))
    def result(self, message: InboundMessage) -> str:
        detail = message.detail
        if not detail:
            return "–"
        counts = {name: int(detail.get(name, 0)) for name in ("created", "repeated", "customers", "rejected")}
        said = (
            _t(
                "New events: %(created)d, known already: %(repeated)d, customers: %(customers)d, rejected: %(rejected)d"
            )
            % counts
        )
        erased = int(detail.get("erased", 0))
        return (
            said + " · " + _t("left out, of erased people: %(count)d") % {"count": erased} if erased else said
        )

    @admin.display(description=_("rejected items"))
    def rejections(self, message: InboundMessage) -> SafeString | str:
        found = message.detail.get("rejections") or []
        lines = ((_t("Item %(number)d") % {"number": int(one["item"]) + 1}, one["reason"]) for one in found)
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}: {}</li>", lines)) if found else "–"


class AttemptInline(TabularInline):
    model = DeliveryAttempt
    fields = readonly_fields = ("number", "at", "status_code", "duration_ms", "error")
    ordering = ("-number",)
    extra = 0
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("crm_integration.view_outboundmessage")


@admin.register(OutboundMessage)
class OutboundMessageAdmin(MessageAdmin):
    key_field = "message_id"
    refusals = outbox.NotRedeliverable
    again_label = _("Deliver again")
    again_question = _("Send this message again? The receiver sees the same id.")
    list_display = (
        "created_at",
        "connection",
        "topic",
        "customer",
        "state_badge",
        "attempts",
        "next_try",
        "message_id",
    )
    list_select_related = ("connection", "customer")
    actions = ("redeliver_selected",)
    inlines = (AttemptInline,)
    fields = (
        ("connection", "topic"),
        ("message_id", "customer"),
        ("created_at", "delivered_at"),
        ("state_badge", "next_try"),
        ("attempts", "subject_version"),
        "error",
    )
    readonly_fields = ("state_badge", "next_try")

    def again(self, message: OutboundMessage, *, actor: Any) -> None:
        outbox.redeliver(message, actor=actor)

    @admin.action(description=_("Deliver again"), permissions=["repeat"])
    def redeliver_selected(self, request: HttpRequest, queryset: QuerySet[OutboundMessage]) -> None:
        self._repeat(request, queryset)

    def has_repeat_permission(self, request: HttpRequest) -> bool:
        return self.may_repeat(request)

    @admin.display(description=_("next attempt"))
    def next_try(self, message: OutboundMessage) -> str:
        return moment(message.run_after) if message.state == LeaseState.QUEUED else NOTHING


@admin.register(RefusedDelivery)
class RefusedDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("day", "connection", "why", "count", "last_at", "headers")
    list_display_links = None
    list_select_related = ("connection",)
    list_filter = ("connection",)
    ordering = ("-day", "-count")

    @admin.display(description=_("why"))
    def why(self, refused: RefusedDelivery) -> Any:
        return words.reason(refused.reason)

    @admin.display(description=_("header names of the last one"))
    def headers(self, refused: RefusedDelivery) -> str:
        return ", ".join(refused.header_names)
