"""The wizard: choose the CRM, say what it needs, copy the address and topics, and watch a test event arrive."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from crm_integration import connections, trial
from crm_integration.adapters import registry
from crm_integration.adapters.base import Adapter
from crm_integration.admin import journey, words
from crm_integration.admin.connect_form import connect_form
from crm_integration.connections import Door
from crm_integration.models import Connection, InboundMessage
from crm_integration.signatures import BadSignature
from segmentation.admin.base import View, post_only, requires

ADD = "crm_integration.add_connection"
VIEW = "crm_integration.view_connection"
CHANGE = "crm_integration.change_connection"


class SetupPages:
    """Pages of the wizard (mixed into the admin of connections)."""

    def setup_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("connect/", self.kinds_view, "connect"),
            ("connect/<slug:kind>/", self.connect_view, "connect_kind"),
            ("<int:pk>/setup/", self.setup_view, "setup"),
            ("<int:pk>/setup/try/", self.try_view, "try"),
            ("<int:pk>/setup/watch/", self.watch_view, "watch"),
        ]

    def kinds_view(self: Any, request: HttpRequest) -> HttpResponse:
        requires(request, ADD)
        return self.page(
            request,
            "crm_integration/connect_kinds.html",
            title=_("Connect a CRM"),
            kinds=registry.KNOWN,
        )

    def connect_view(self: Any, request: HttpRequest, kind: str) -> HttpResponse:
        requires(request, ADD)
        adapter = _kind(kind)
        form = connect_form(adapter)(
            request.POST or None, initial={"name": str(adapter.label).partition(" (")[0]}
        )
        if request.method == "POST" and form.is_valid():
            try:
                connection, secret = form.create(actor=request.user)
            except IntegrityError:
                # Pressed twice, or two people at once: both looked for a free address and found the same.
                form.add_error(
                    "name", _("A connection of this name was made at the same moment. Look in the list.")
                )
            else:
                if secret:
                    return self.setup_page(request, connection, secret=secret)
                return HttpResponseRedirect(self.url("setup", connection.pk))
        return self.page(
            request,
            "crm_integration/connect_form.html",
            title=_("Connect %(kind)s") % {"kind": adapter.label},
            kind=adapter,
            form=form,
        )

    def setup_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, VIEW)
        return self.setup_page(request, get_object_or_404(Connection, pk=pk))

    def setup_page(
        self: Any, request: HttpRequest, connection: Connection, *, secret: str = ""
    ) -> HttpResponse:
        """`secret`: one that was made just now; no other page shows it again."""
        kind = registry.ADAPTERS.get(connection.adapter)
        watched = _watched(request, connection)
        page = self.page(
            request,
            "crm_integration/setup.html",
            title=_("Set up %(connection)s") % {"connection": connection.name},
            object=connection,
            connection=connection,
            kind=kind,
            address=connections.hook_url(connection),
            is_local=connections.is_local(),
            has_secret=connections.has_secret(connection, Door.INBOUND),
            secret=secret,
            problem=trial.problem_with(connection),
            note=kind.example.note if kind is not None and kind.example is not None else "",
            way=journey.of(watched, request.user) if watched is not None else None,
            last=journey.last_id(connection),
        )
        if secret:
            page["Cache-Control"] = "no-store"
        return page

    def try_view(self: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
        return post_only(CHANGE)(type(self)._try)(self, request, pk)

    def _try(self: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
        """JSON for the open page; without scripts the page comes back and shows how far the message is."""
        connection = get_object_or_404(Connection, pk=pk)
        try:
            number = trial.send(connection, actor=request.user)
        except (trial.CannotTry, BadSignature) as problem:
            said = str(words.reason(problem.reason) if isinstance(problem, BadSignature) else problem)
            if _wants_json(request):
                return JsonResponse({"problem": said}, status=409)
            self.refuse(request, said)
            return HttpResponseRedirect(self.url("setup", pk))
        if _wants_json(request):
            return JsonResponse({"message": number})
        return HttpResponseRedirect(f"{self.url('setup', pk)}?message={number}#try")

    def watch_view(self: Any, request: HttpRequest, pk: int) -> JsonResponse:
        """How far a message is; with `after` instead, the first one that came after that one, if any did."""
        requires(request, VIEW)
        connection = get_object_or_404(Connection, pk=pk)
        message = _watched(request, connection)
        if message is None:
            return JsonResponse({"steps": [], "over": False, "hint": "", "message": None})
        return JsonResponse(journey.of(message, request.user))


def _kind(slug: str) -> Adapter:
    try:
        return registry.get(slug)
    except registry.UnknownAdapter as error:
        raise Http404 from error


def _wants_json(request: HttpRequest) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def _watched(request: HttpRequest, connection: Connection) -> InboundMessage | None:
    number, after = (_number(request.GET.get(name, "")) for name in ("message", "after"))
    if number is not None:
        rows = InboundMessage.objects.filter(connection=connection, pk=number)
        return rows.select_related("connection").first()
    return journey.newest(connection, after=after) if after is not None else None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
