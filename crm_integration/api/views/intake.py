"""Events and customers in: rows first, then a nudge, 202 with a result for each item."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import ParseError, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration import intake
from crm_integration.adapters.base import Unreadable
from crm_integration.api.base import Resource, one
from crm_integration.api.idempotency import idempotent, key_of
from crm_integration.api.problems import Unprocessable
from crm_integration.api.serializers.intake import EnvelopeSerializer, ItemSerializer, ReceiptSerializer
from crm_integration.api.serializers.jobs import MessageSerializer
from crm_integration.intake import Item, Status
from crm_integration.models import InboundMessage, Scope

CUSTOMER_TOPICS = frozenset({"customer.created", "customer.updated", "consent.changed"})


class Intake(Resource):
    """Whatever the topic: this takes a request's envelope, or its batch, as a message of the token's connection."""

    topics: frozenset[str] | None = None

    def take(self, request: Request) -> Response:
        connection = self.token.connection
        content: Any = request.data
        if not self.raw_body:
            raise ParseError(_("The body is missing."))
        if connection is None:
            raise PermissionDenied(_("The token is bound to no connection, so it cannot write."))
        try:
            taken = intake.take(
                connection,
                self.raw_body,
                content,
                key=key_of(request),
                received_at=timezone.now(),
                topics=self.topics,
            )
        except intake.NotTaking as problem:
            raise PermissionDenied(str(problem)) from problem
        except Unreadable as problem:
            raise ParseError(str(problem)) from problem
        except intake.AllRefused as refusal:
            results = ItemSerializer(refusal.items, many=True).data
            raise Unprocessable(_why(refusal), results=results) from refusal
        return Response(_receipt(taken), status=status.HTTP_202_ACCEPTED)


def _receipt(taken: intake.Taken) -> dict[str, object]:
    counts = Counter(item.status for item in taken.items)
    receipt = {
        "message": taken.message_id,
        "accepted": counts[Status.ACCEPTED],
        "duplicates": counts[Status.DUPLICATE],
        "refused": counts[Status.REFUSED],
        "results": taken.items,
    }
    return ReceiptSerializer(receipt).data


def _why(refusal: intake.AllRefused) -> str:
    items: tuple[Item, ...] = refusal.items
    return items[0].reason if len(items) == 1 else str(refusal)


class EventsView(Intake):
    scopes = {"POST": Scope.EVENTS_WRITE}

    @extend_schema(operation_id="events_send", request=EnvelopeSerializer, responses={202: ReceiptSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        """One event, or up to 1,000 in a batch. Stored when this answers; understood by a worker a moment later."""
        return self.take(request)


class CustomersIn(Intake):
    topics = CUSTOMER_TOPICS

    @extend_schema(
        operation_id="customers_send", request=EnvelopeSerializer, responses={202: ReceiptSerializer}
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Customers and their consent, one or a batch, in the envelopes of the same topics."""
        return self.take(request)


class MessageView(Resource):
    scopes = {"GET": None}

    @extend_schema(operation_id="messages_read", responses=MessageSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """What came of a request of this token's connection."""
        rows = InboundMessage.objects.defer("body").filter(connection=self.token.connection_id or 0)
        return Response(MessageSerializer(one(rows, pk=pk)).data)
