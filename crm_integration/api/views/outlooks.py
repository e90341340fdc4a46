"""Demand outlooks: what categories and products will be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.base import ListResource, Resource, one
from crm_integration.api.idempotency import idempotent_by_itself
from crm_integration.api.queries import Query
from crm_integration.api.serializers.outlooks import (
    NewOutlookSerializer,
    OutlookDetailSerializer,
    OutlookSerializer,
)
from crm_integration.models import Scope
from segmentation.demand import outlooks
from segmentation.models import DemandOutlook


class OutlooksView(ListResource):
    scopes = {"GET": Scope.JOBS_READ, "POST": Scope.JOBS_RUN}
    serializer = OutlookSerializer
    ordering = ("-id",)

    @extend_schema(operation_id="outlooks_list", parameters=[Query], responses=OutlookSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Demand outlooks, the newest first; one is kept for each number of weeks."""
        return self.page(request)

    @extend_schema(
        operation_id="outlooks_start", request=NewOutlookSerializer, responses={202: OutlookSerializer}
    )
    @idempotent_by_itself
    def post(self, request: Request) -> Response:
        """Ask a worker what will be bought in the coming weeks; the outlook under way, if there is one."""
        asked = NewOutlookSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        row = outlooks.ask(asked.validated_data["weeks"], token=self.token.prefix)
        return Response(OutlookSerializer(row).data, status=status.HTTP_202_ACCEPTED)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[DemandOutlook]:
        return DemandOutlook.objects.defer("result")


class OutlookView(Resource):
    scopes = {"GET": Scope.JOBS_READ}

    @extend_schema(operation_id="outlooks_read", responses=OutlookDetailSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """State of an outlook and, once it is done, what it says."""
        return Response(OutlookDetailSerializer(one(DemandOutlook.objects.all(), pk=pk)).data)
