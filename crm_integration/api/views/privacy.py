"""People and their data: ask for a copy or an erasure, follow it, and fetch the answer."""

from __future__ import annotations

import orjson
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.base import Resource, one
from crm_integration.api.idempotency import idempotent
from crm_integration.api.problems import Conflict, Unprocessable
from crm_integration.api.serializers.privacy import NewPrivacyRequestSerializer, PrivacyRequestSerializer
from crm_integration.models import Scope
from segmentation import identities, privacy
from segmentation.models import AuditEntry, PrivacyRequest

DOOR = "api:"


def _made_here() -> QuerySet[PrivacyRequest]:
    """What came through other doors is answered there."""
    return PrivacyRequest.objects.filter(source__startswith=DOOR)


class PrivacyRequestsView(Resource):
    scopes = {"POST": Scope.PRIVACY_RUN}

    @extend_schema(
        operation_id="privacy_requests_start",
        request=NewPrivacyRequestSerializer,
        responses={202: PrivacyRequestSerializer},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Export what is held about somebody, or erase them everywhere; also for somebody who is not known here.

        A worker does it. 409 while the same request about this person, made elsewhere, is open.
        """
        asked = NewPrivacyRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        try:
            row = privacy.request(
                wanted["kind"],
                identities.SHOP,
                wanted["customer"],
                wanted["email"],
                source=f"{DOOR}{self.token.prefix}",
                reason=wanted["reason"],
            )
        except privacy.NotAsked as problem:
            raise Unprocessable(str(problem)) from problem
        if not row.source.startswith(DOOR):
            raise Conflict(_("The same request about this person is open already."))
        return Response(PrivacyRequestSerializer(row).data, status=status.HTTP_202_ACCEPTED)


class PrivacyRequestView(Resource):
    scopes = {"GET": Scope.PRIVACY_RUN}
    is_private = True

    @extend_schema(operation_id="privacy_requests_read", responses=PrivacyRequestSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """How far it is; after an erasure, which model versions may have learned from the person, and until when."""
        return Response(PrivacyRequestSerializer(one(_made_here(), pk=pk)).data)


class PrivacyDocumentView(Resource):
    scopes = {"GET": Scope.PRIVACY_RUN}
    is_private = True

    @extend_schema(operation_id="privacy_requests_document", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, pk: int) -> Response:
        """Everything that is held about the person. 409 while it is not made, or is no longer kept."""
        row = one(_made_here(), pk=pk)
        found = privacy.answer(row)
        if found is None:
            raise Conflict(
                _("There is no document: it is not made yet, is no longer kept, or was not asked for.")
            )
        AuditEntry.record("privacy.downloaded", row, token=self.token.prefix, customers=row.customers)
        return Response(orjson.loads(found))
