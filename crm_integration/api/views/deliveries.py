"""What went out, and the token that asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.base import ListResource, Resource, one
from crm_integration.api.queries import Query
from crm_integration.api.serializers.jobs import (
    DeliveryDetailSerializer,
    DeliverySerializer,
    TokenSerializer,
)
from crm_integration.models import OutboundMessage, Scope
from crm_integration.models.connections import SECRETS
from segmentation.models import (
    LeaseState,
)


class DeliveriesQuery(Query):
    state = serializers.ChoiceField(required=False, choices=LeaseState.choices)
    topic = serializers.CharField(required=False, max_length=100)


class DeliveriesView(ListResource):
    scopes = {"GET": Scope.DELIVERIES_READ}
    query = DeliveriesQuery
    serializer = DeliverySerializer
    ordering = ("-id",)

    @extend_schema(
        operation_id="deliveries_list", parameters=[DeliveriesQuery], responses=DeliverySerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """Messages to receivers, the newest first; of the token's connection alone where it has one."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[OutboundMessage]:
        rows = _deliveries(self.token.connection_id)
        for name in ("state", "topic"):
            if name in wanted:
                rows = rows.filter(**{name: wanted[name]})
        return rows


def _deliveries(connection_id: int | None) -> QuerySet[OutboundMessage]:
    unread = ("body", *(f"connection__{name}" for name in SECRETS))
    rows = OutboundMessage.objects.select_related("connection", "customer").defer(*unread)
    return rows if connection_id is None else rows.filter(connection=connection_id)


class DeliveryView(Resource):
    scopes = {"GET": Scope.DELIVERIES_READ}

    @extend_schema(operation_id="deliveries_read", responses=DeliveryDetailSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """One message with every attempt."""
        rows = _deliveries(self.token.connection_id).prefetch_related("delivery_attempts")
        return Response(DeliveryDetailSerializer(one(rows, pk=pk)).data)


class TokenView(Resource):
    scopes = {"GET": None}

    @extend_schema(operation_id="token_read", responses=TokenSerializer)
    def get(self, request: Request) -> Response:
        """The token that asks: what it may do and until when."""
        return Response(TokenSerializer(self.token).data)
