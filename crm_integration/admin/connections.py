"""Connections: the address to paste, secrets that are shown once, a test, and how deliveries are doing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from crm_integration import connections, outbox, shop_erasures, signatures
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter
from crm_integration.admin import drift_panel, health, push_form, queue_page, traffic
from crm_integration.admin.connect_form import secret_rule
from crm_integration.admin.erase_page import ErasePage
from crm_integration.admin.forms import PREFIX, ConnectionForm, field_name, form_for
from crm_integration.admin.scheme_page import SchemePage
from crm_integration.admin.setup_pages import SetupPages
from crm_integration.connections import Door
from crm_integration.models import Connection, InboundMessage
from segmentation.admin.base import View, badge, post_only
from segmentation.admin.shown import ShownAdmin
from segmentation.jobs import Job, enqueue

DOORS = frozenset(door.value for door in Door)
DOOR_NAMES = {Door.INBOUND: _("signing secret"), Door.OUTBOUND: _("delivery secret")}


@admin.register(Connection)
class ConnectionAdmin(drift_panel.DriftButtons, ErasePage, SetupPages, SchemePage, ShownAdmin):
    form = ConnectionForm
    list_display = ("name", "kind", "health_badge", "accepts_inbound", "sends_outbound", "last_received")
    search_fields = ("name", "slug")
    prepopulated_fields = {"slug": ["name"]}
    change_form_outer_before_template = "crm_integration/connection_head.html"
    list_before_template = "crm_integration/connect_button.html"
    fieldsets = (
        (None, {"fields": (("name", "slug"), ("adapter", "is_active"))}),
        (
            _("In: what happens in the shop"),
            {"fields": ("accepts_inbound", ("reads_queue", "queue_must_sign"))},
        ),
        (_("Jobs by message"), {"fields": ("may_start_jobs", "job_topics")}),
        (_("Out: decisions"), {"fields": ("sends_outbound", "outbound_via", "outbound_url")}),
    )

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/secret/<slug:door>/", self.secret_view, "secret"),
            ("<int:pk>/secret/<slug:door>/drop/", self.drop_secret_view, "drop_secret"),
            ("<int:pk>/test/", self.test_view, "test"),
            *self.drift_urls(),
            *self.erase_urls(),
            *self.setup_urls(),
            *self.scheme_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Connection]:
        newest = (
            InboundMessage.objects.filter(connection=OuterRef("pk")).order_by("-pk").values("received_at")[:1]
        )
        return super().get_queryset(request).annotate(newest_received=Subquery(newest))

    def get_form(
        self, request: HttpRequest, obj: Connection | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """With the fields that the kind needs: a new connection's kind is known once it is posted."""
        shown = obj is not None or _gives_needs(request)
        kwargs["form"] = form_for(_kind(request, obj) if shown else None, obj)
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Connection | None = None) -> Any:
        sets = super().get_fieldsets(request, obj)
        kind = _kind(request, obj)
        if kind is None or not kind.needs or (obj is None and not _gives_needs(request)):
            return sets
        names = tuple(field_name(need) for need in kind.needs)
        title = _t("What %(kind)s needs") % {"kind": kind.label}
        written = push_form.field_names(kind) if obj is not None else ()
        pushed = _t("Out: what is written to %(kind)s by its own API") % {"kind": kind.label}
        more = ((pushed, {"fields": written, "classes": ["collapse"]}),) if written else ()
        return (*sets[:1], (title, {"fields": names}), *sets[1:], *more)

    def get_readonly_fields(self, request: HttpRequest, obj: Connection | None = None) -> tuple[str, ...]:
        """The short name is part of an address that others have stored: it stays."""
        return ("slug",) if obj else ()

    def get_prepopulated_fields(self, request: HttpRequest, obj: Connection | None = None) -> dict[str, Any]:
        return {} if obj else dict(self.prepopulated_fields)

    # --- columns
    @admin.display(description=_("kind"), ordering="adapter")
    def kind(self, connection: Connection) -> str:
        known = registry.ADAPTERS.get(connection.adapter)
        return str(known.label) if known is not None else connection.adapter

    @admin.display(description=_("state"))
    def health_badge(self, connection: Connection) -> SafeString:
        return badge(*health.state(connection))

    @admin.display(description=_("last received"))
    def last_received(self, connection: Any) -> Any:
        return connection.newest_received

    # --- pages
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        connection = Connection.objects.filter(pk=object_id).first() if object_id else None
        facts = (
            {
                "health": health.of(connection),
                "queue": queue_page.of(connection),
                "drift": drift_panel.of(connection),
                "traffic": traffic.of(connection),
                "asks_to_erase": shop_erasures.asked(connection).filter(resolved_at=None).exists(),
            }
            if connection is not None
            else {}
        )
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **facts})

    def save_model(self, request: HttpRequest, obj: Connection, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if getattr(form, "needs", ()) and (change or _gives_needs(request)):
            connections.save_settings(
                obj, options=form.options(), credentials=form.credentials(), actor=request.user
            )
        if form.push is not None:
            connections.save_push(obj, push=form.push, actor=request.user)
        if "sends_outbound" in form.changed_data and obj.sends_outbound:
            connections.note_switched_on(obj)
            enqueue(Job.DELIVER)

    def response_add(
        self, request: HttpRequest, obj: Connection, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The secrets of a new connection, on the page that answers: nothing keeps them in readable form.

        A secret that the vendor makes is entered on the connection's page, which says where to find it.
        """
        theirs = registry.get(obj.adapter).secret_is_theirs
        wanted = (
            (Door.INBOUND, connections.uses_inbound_secret(obj) and not theirs),
            (Door.OUTBOUND, connections.uses_outbound_secret(obj)),
        )
        doors = [door for door, used in wanted if used]
        if not doors and theirs:
            messages.info(request, _t("Now follow the steps on this page."))
            return self.back_to(obj)
        if not doors:
            return super().response_add(request, obj, post_url_continue)
        return self._secrets_made(request, obj, doors)

    def response_change(self, request: HttpRequest, obj: Connection) -> HttpResponse:
        """What was switched on and cannot do without a secret gets one; the first delivery would fail for good else."""
        kind = registry.ADAPTERS.get(obj.adapter)
        theirs = kind is None or kind.secret_is_theirs
        wanted = (
            (Door.INBOUND, connections.uses_inbound_secret(obj) and not theirs),
            (Door.OUTBOUND, connections.needs_outbound_secret(obj)),
        )
        doors = [door for door, needs in wanted if needs and not connections.has_secret(obj, door)]
        return self._secrets_made(request, obj, doors) if doors else super().response_change(request, obj)

    def _secrets_made(
        self, request: HttpRequest, connection: Connection, doors: Sequence[Door]
    ) -> HttpResponse:
        made = {door: connections.set_secret(connection, door, actor=request.user) for door in doors}
        return self._secrets_page(request, connection, made)

    def _secrets_page(
        self, request: HttpRequest, connection: Connection, made: dict[Door, str]
    ) -> HttpResponse:
        page = self.page(
            request,
            "crm_integration/secrets.html",
            title=_t("Copy this now: %(connection)s") % {"connection": connection.name},
            connection=connection,
            secrets=[(door.value, DOOR_NAMES[door], secret) for door, secret in made.items()],
            address=connections.hook_url(connection),
        )
        page["Cache-Control"] = "no-store"
        return page

    # --- buttons
    @post_only("crm_integration.change_connection")
    def secret_view(self, request: HttpRequest, pk: int, door: str) -> HttpResponse:
        """A fresh secret, shown once; or the one that the other side dictates, which is not shown at all."""
        connection = get_object_or_404(Connection, pk=pk)
        if door not in DOORS:
            return HttpResponseNotFound()
        dictated = request.POST.get("secret", "").strip()
        try:
            secret = connections.set_secret(connection, Door(door), secret=dictated, actor=request.user)
        except signatures.InvalidSecret:
            self.refuse(request, _secret_rule(connection, Door(door)))
            return self._back_from_secret(request, connection)
        if dictated:
            messages.success(request, _t("The secret is set. The one before stays valid for 24 hours."))
            return self._back_from_secret(request, connection)
        if request.POST.get("then") == "setup" and Door(door) is Door.INBOUND:
            return self.setup_page(request, connection, secret=secret)
        return self._secrets_page(request, connection, {Door(door): secret})

    def _back_from_secret(self, request: HttpRequest, connection: Connection) -> HttpResponse:
        """To where the button was."""
        if request.POST.get("then") == "setup":
            return HttpResponseRedirect(self.url("setup", connection.pk))
        return self.back_to(connection)

    @post_only("crm_integration.change_connection")
    def drop_secret_view(self, request: HttpRequest, pk: int, door: str) -> HttpResponse:
        connection = get_object_or_404(Connection, pk=pk)
        if door not in DOORS:
            return HttpResponseNotFound()
        connections.end_grace(connection, Door(door), actor=request.user)
        messages.success(request, _t("The previous secret is no longer accepted."))
        return self.back_to(connection)

    @post_only("crm_integration.change_connection")
    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        connection = get_object_or_404(Connection, pk=pk)
        if not connection.is_active or not connection.sends_outbound:
            self.refuse(request, _t("This connection does not send. Switch on “sends decisions” first."))
            return self.back_to(connection)
        outbox.stage_test(connection, actor=request.user)
        messages.info(
            request, _t("A test message is on its way; see it under “Latest deliveries” in a moment.")
        )
        return self.back_to(connection)


def _kind(request: HttpRequest, connection: Connection | None) -> Adapter | None:
    slug = connection.adapter if connection is not None else request.POST.get("adapter", "")
    return registry.ADAPTERS.get(slug)


def _gives_needs(request: HttpRequest) -> bool:
    """Whether the posted form had the fields of its kind: the first page of a new connection has none."""
    return any(name.startswith(PREFIX) for name in request.POST)


def _secret_rule(connection: Connection, door: Door) -> str:
    kind = registry.ADAPTERS.get(connection.adapter)
    scheme = kind if door is Door.INBOUND and kind is not None else registry.get(registry.STANDARD)
    return str(secret_rule(scheme))
