"""The webhook door: raw bytes in, verified, stored, 202."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from crm_integration import connections, inbox, refusals
from crm_integration.adapters import registry
from crm_integration.adapters.base import Delivery
from crm_integration.models import Connection
from crm_integration.signatures import BadSignature, Reason

log = structlog.get_logger(__name__)

RETRY_SECONDS = 5
STATUS = {Reason.TOO_LARGE: 413, Reason.UNREADABLE: 400}
View = Callable[..., HttpResponse]


class Refused(Exception):
    """The delivery is turned away for this reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def retry_when_database_is_away(view: View) -> View:
    """503 with Retry-After, so that the sender keeps the message and comes back."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except (OperationalError, InterfaceError) as error:
            log.error("inbound.database_away", error=type(error).__name__)
            answer = _problem("unavailable", status=503)
            answer["Retry-After"] = str(RETRY_SECONDS)
            return answer

    return guarded


@csrf_exempt
@retry_when_database_is_away
def receive_webhook(request: HttpRequest, slug: str) -> HttpResponse:
    """POST /hooks/<slug>/: 202 once the message is committed; never a server error for what the sender did."""
    if request.method != "POST":
        answer = _problem("method_not_allowed", status=405)
        answer["Allow"] = "POST"
        return answer
    connection = connections.find_receiving(slug)
    if connection is None:
        return _problem("unknown_connection", status=404)
    try:
        return _accept(connection, request)
    except registry.UnknownAdapter:
        return _problem("unknown_connection", status=404)
    except (Refused, BadSignature) as refusal:
        refusals.count(connection, refusal.reason, request.headers)
        return _problem(_public(refusal.reason), status=STATUS.get(refusal.reason, 401))


def _accept(connection: Connection, request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    delivery = Delivery(
        _read(request), _headers(request), _public_url(connection, request), connection.options
    )
    adapter = registry.get(connection.adapter)
    if adapter.is_greeting(delivery):
        return JsonResponse({"status": "hello"})
    secrets = connections.valid_secrets(connection, connections.Door.INBOUND, now=now)
    adapter.verify(delivery, secrets=secrets, now=int(now.timestamp()))
    received = inbox.receive(
        connection,
        dedupe_key=adapter.dedupe_key(delivery),
        body=delivery.body,
        received_at=now,
        topic=adapter.topic(delivery),
        repeats_differ=not adapter.retries_are_identical,
    )
    status = "duplicate" if received.is_duplicate else "accepted"
    return JsonResponse({"id": received.message_id, "status": status}, status=202)


def _read(request: HttpRequest) -> bytes:
    """The body as it came; a body over the cap is refused before it is read where its length is told."""
    most = settings.INBOUND_MAX_BYTES
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise Refused(Reason.UNREADABLE)
    if int(length[:20]) > most:
        raise Refused(Reason.TOO_LARGE)
    try:
        body = request.read(most + 1)
    except UnreadablePostError as error:
        raise Refused(Reason.UNREADABLE) from error
    if len(body) > most:
        raise Refused(Reason.TOO_LARGE)
    return body


def _headers(request: HttpRequest) -> dict[str, bytes]:
    """Lower-case names to the bytes that were sent; WSGI hands header values over as Latin-1 text."""
    return {name.lower(): value.encode("latin-1", "replace") for name, value in request.headers.items()}


def _public_url(connection: Connection, request: HttpRequest) -> str:
    """The address that the sender was given: behind a proxy the request itself may name another host or scheme."""
    query = request.META.get("QUERY_STRING", "")
    return connections.hook_url(connection) + (f"?{query}" if query else "")


def _public(reason: Reason) -> str:
    """What the sender is told. Signature failures all sound the same; staff see the reason."""
    return reason.value if reason in STATUS else "signature_not_accepted"


def _problem(error: str, *, status: int) -> JsonResponse:
    return JsonResponse({"error": error}, status=status)
