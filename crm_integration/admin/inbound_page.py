"""The page of a received message: its way, what it says, what it caused, and why it was set aside."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from crm_integration.admin import journey
from crm_integration.admin.effects import Effects
from crm_integration.models import InboundMessage
from segmentation.admin.base import View, requires


class InboundPage:
    """Mixed into the admin of received messages."""

    def inbound_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/way/", self.way_view, "way")]

    def inbound_facts(self, request: HttpRequest, message: InboundMessage) -> dict[str, Any]:
        """What the page shows beside the fields."""
        effects = Effects(message)
        tester = reverse("admin:crm_integration_connection_setup", args=[message.connection_id])
        return {
            "effects": effects,
            "way": journey.of(message, request.user),
            "way_url": reverse("admin:crm_integration_inboundmessage_way", args=[message.pk]),
            "headers": sorted(message.headers.items()),
            "trace": message.detail.get("trace") or (),
            "setup_url": tester if request.user.has_perm("crm_integration.view_connection") else "",
            "sees_customers": request.user.has_perm("segmentation.view_customer"),
            "sees_sent": request.user.has_perm("crm_integration.view_outboundmessage"),
            "sees_events": request.user.has_perm("segmentation.view_event"),
        }

    def way_view(self, request: HttpRequest, pk: int) -> JsonResponse:
        """For the open page, until the message is over."""
        requires(request, "crm_integration.view_inboundmessage")
        message = get_object_or_404(InboundMessage.objects.select_related("connection"), pk=pk)
        return JsonResponse(journey.of(message, request.user))
