"""What another choice of offers would have brought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError as Refused
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.base import ListResource, Resource, one
from crm_integration.api.idempotency import idempotent
from crm_integration.api.problems import Unprocessable
from crm_integration.api.queries import Query
from crm_integration.api.serializers.estimates import EstimateSerializer, NewEstimateSerializer
from crm_integration.models import Scope
from segmentation import estimates
from segmentation.models import AuditEntry, Campaign, Offer, PolicyEstimate

ESTIMATES = PolicyEstimate.objects.select_related("campaign", "other", "offer")


class EstimatesQuery(Query):
    campaign = serializers.SlugField(required=False, help_text="Only those of this campaign.")


class EstimatesView(ListResource):
    scopes = {"GET": Scope.JOBS_READ, "POST": Scope.JOBS_RUN}
    query = EstimatesQuery
    serializer = EstimateSerializer
    ordering = ("-id",)

    @extend_schema(
        operation_id="estimates_list", parameters=[EstimatesQuery], responses=EstimateSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """Estimates of other choices, the newest first."""
        return self.page(request)

    @extend_schema(
        operation_id="estimates_start", request=NewEstimateSerializer, responses={202: EstimateSerializer}
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Ask a worker what another campaign, or one offer for everybody, would have brought. 422: nothing was drawn."""
        asked = NewEstimateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        try:
            row = estimates.request(
                _named(Campaign, "campaign", wanted),
                other=_named(Campaign, "other", wanted) if "other" in wanted else None,
                offer=_named(Offer, "offer", wanted) if "offer" in wanted else None,
                horizon_days=wanted["horizon_days"],
            )
        except Refused as problem:
            raise Unprocessable(" ".join(problem.messages)) from problem
        AuditEntry.record("api.estimate_started", row, token=self.token.prefix)
        shown = EstimateSerializer(one(ESTIMATES, pk=row.pk)).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[PolicyEstimate]:
        rows = ESTIMATES.all()
        return rows.filter(campaign__slug=wanted["campaign"]) if "campaign" in wanted else rows


class EstimateView(Resource):
    scopes = {"GET": Scope.JOBS_READ}

    @extend_schema(operation_id="estimates_read", responses=EstimateSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """State and result of an estimate."""
        return Response(EstimateSerializer(one(ESTIMATES, pk=pk)).data)


def _named(model: Any, field: str, wanted: Mapping[str, Any]) -> Any:
    found = model._default_manager.filter(slug=wanted[field]).first()
    if found is None:
        raise ValidationError({field: _("There is no “%(slug)s”.") % {"slug": wanted[field]}})
    return found
