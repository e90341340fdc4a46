"""What we write to a CRM, on the connection's page: how it goes, what came back as an echo, what differs, and buttons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import ngettext

from crm_integration import drift, echoes
from crm_integration.adapters import registry
from crm_integration.adapters.pushing import Values
from crm_integration.comparing import CannotCompare
from crm_integration.drift import Difference
from crm_integration.models import Connection, DriftCheck, EchoCount, PushedRecord
from crm_integration.pushed_values import names_of
from segmentation.admin.base import View, post_only

SHOWN = 20
ECHO_DAYS = 7


@dataclass(frozen=True)
class Differing:
    customer_id: int
    customer: str
    reference: str
    differences: list[Difference]


@dataclass(frozen=True)
class DriftPanel:
    """None of it is shown for a connection that does not write to a CRM."""

    check: DriftCheck | None
    differing: list[Differing]
    can_read_back: bool
    echoes: int
    echo_days: int
    latest: PushedRecord | None
    latest_fields: dict[str, str]
    latest_tags: list[str]


def of(connection: Connection) -> DriftPanel | None:
    """Bounded reads: the records that differ have an index of their own."""
    if not echoes.is_watched(connection):
        return None
    kind = registry.ADAPTERS.get(connection.adapter)
    if kind is None or kind.pushing is None:
        return None
    names = names_of(connection, kind)
    records = PushedRecord.objects.filter(connection=connection).select_related("customer")
    since = timezone.now().date() - timedelta(days=ECHO_DAYS)
    told = EchoCount.objects.filter(connection=connection, day__gt=since).aggregate(all=Sum("count"))
    last = records.order_by("-pk").first()
    holds = Values.of(last.values if last is not None else None)
    return DriftPanel(
        check=drift.latest(connection),
        differing=[
            Differing(
                record.customer_id,
                record.customer.reference,
                record.reference,
                drift.differences(record, names),
            )
            for record in records.filter(differs=True).order_by("pk")[:SHOWN]
        ],
        can_read_back=kind.can_read_back,
        echoes=told["all"] or 0,
        echo_days=ECHO_DAYS,
        latest=last,
        latest_fields={name: value for name, value in holds.fields.items() if value},
        latest_tags=sorted(holds.tags),
    )


class DriftButtons:
    """The buttons of the panel, for ConnectionAdmin."""

    def drift_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/read-back/", self.read_back_view, "read_back"),
            ("<int:pk>/push-again/", self.push_again_view, "push_again"),
        ]

    @post_only("crm_integration.change_connection")
    def read_back_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        connection = get_object_or_404(Connection, pk=pk)
        sample = None if request.POST.get("all") else drift.SAMPLE
        try:
            drift.start(connection, period=drift.period_asked(timezone.now()), sample=sample)
        except CannotCompare as problem:
            self.refuse(request, problem)
        else:
            messages.info(request, _t("The CRM is being read back; the result stands here in a moment."))
        return self.back_to(connection)

    @post_only("crm_integration.change_connection")
    def push_again_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        connection = get_object_or_404(Connection, pk=pk)
        count = drift.push_again(connection, actor=request.user)
        messages.info(
            request,
            ngettext(
                "%(count)d customer is being written again.",
                "%(count)d customers are being written again.",
                count,
            )
            % {"count": count},
        )
        return self.back_to(connection)
