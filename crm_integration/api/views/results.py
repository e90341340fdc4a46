"""What a campaign changed: the newest result, and asking for a new one."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.base import Resource, one
from crm_integration.api.idempotency import idempotent_by_itself
from crm_integration.api.problems import Unprocessable
from crm_integration.api.serializers.results import CampaignResultSerializer, MeasureSerializer
from crm_integration.models import Scope
from segmentation.models import AuditEntry, Campaign
from segmentation.results import measuring


class CampaignResultView(Resource):
    scopes = {"GET": Scope.DECISIONS_READ, "POST": Scope.JOBS_RUN}

    @extend_schema(operation_id="campaigns_results", responses=CampaignResultSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """The newest result of a campaign; while there is none the measurement under way. 404 when nobody asked for one."""
        campaign = one(Campaign.objects.all(), slug=slug)
        row = measuring.latest(campaign) or measuring.under_way(campaign)
        if row is None:
            raise NotFound
        return Response(CampaignResultSerializer(row).data)

    @extend_schema(
        operation_id="campaigns_measure", request=MeasureSerializer, responses={202: CampaignResultSerializer}
    )
    @idempotent_by_itself
    def post(self, request: Request, slug: str) -> Response:
        """Ask a worker to measure the campaign; the measurement that is under way, if there is one."""
        campaign = one(Campaign.objects.all(), slug=slug)
        asked = MeasureSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            row = measuring.request(campaign, **asked.validated_data)
        except ValidationError as problem:
            raise Unprocessable(" ".join(problem.messages)) from problem
        AuditEntry.record("api.campaign_measured", campaign, token=self.token.prefix)
        return Response(CampaignResultSerializer(row).data, status=status.HTTP_202_ACCEPTED)
