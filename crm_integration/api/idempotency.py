"""Sending a POST again under the same Idempotency-Key repeats its answer, not its effect."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import orjson
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.parsers import KEY
from crm_integration.api.problems import Conflict
from crm_integration.models import StoredReply

REPLAYED = "Idempotency-Replayed"
_KEY = re.compile(r"[\x21-\x7e]{1,100}")

Handler = Callable[..., Response]
# Called with the answer in the transaction of the effect.
Settle = Callable[[Response], None]


def unsettled(answer: Response) -> None:
    """Without a key nothing is stored."""


def idempotent(handler: Handler) -> Handler:
    """A POST whose answer is stored in the transaction of its effect: both are there, or neither.

    Two at once under one key: the second waits at the unique constraint, then gets the answer of the first.
    Refusals are not stored: nothing happened, so a corrected request may use the key again.
    """

    def together(reply: StoredReply, handle: Handler) -> Response:
        try:
            with transaction.atomic():
                reply.save(force_insert=True)
                answer = handle()
                _fill(reply, answer)
                reply.save(update_fields=["status", "body"])
        except IntegrityError:
            if stored := _stored(reply):
                return stored
            raise
        return answer

    return _once(handler, together)


def idempotent_where_settled(handler: Handler) -> Handler:
    """For what takes too long for one transaction and ends in a short one: the handler calls `settle` with its answer there.

    Two at once under one key: both do the long part, the second waits at the unique constraint, its effect is undone
    by the IntegrityError that leaves the handler, and it gets the answer of the first.
    """

    def settled(reply: StoredReply, handle: Handler) -> Response:
        def settle(answer: Response) -> None:
            _fill(reply, answer)
            reply.save(force_insert=True)

        try:
            return handle(settle=settle)
        except IntegrityError:
            if stored := _stored(reply):
                return stored
            raise

    return _once(handler, settled)


def idempotent_by_itself(handler: Handler) -> Handler:
    """For what does no harm twice and takes too long for a transaction: the answer is stored afterwards."""

    def afterwards(reply: StoredReply, handle: Handler) -> Response:
        answer = handle()
        _fill(reply, answer)
        StoredReply.objects.bulk_create([reply], ignore_conflicts=True)
        return _stored(reply) or answer

    return _once(handler, afterwards)


def _once(handler: Handler, carry_out: Callable[[StoredReply, Handler], Response]) -> Handler:
    """With a key the answer stored under it, else what `carry_out` makes of a new reply; without a key as ever."""

    @wraps(handler)
    def once(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = key_of(request)
        if not key:
            return handler(view, request, *args, **kwargs)
        reply = _new_reply(view, request, key)
        return _stored(reply) or carry_out(reply, partial(handler, view, request, *args, **kwargs))

    return once


def key_of(request: Request) -> str:
    """The request's key, empty without one. Raises ValidationError."""
    key: str = request.headers.get(KEY, "")
    if key and not _KEY.fullmatch(key):
        raise ValidationError({KEY: _("A key is 1 to 100 printable characters without spaces.")})
    return key


def _new_reply(view: Any, request: Request, key: str) -> StoredReply:
    if request.data is None:  # read the body first: what is wrong with it is told before anything else
        raise ValidationError(_("The body is missing."))
    content = f"{request.method} {request.path}\n".encode() + view.raw_body
    return StoredReply(
        token=view.token, key=key, request_sha256=hashlib.sha256(content).hexdigest(), status=0, body=b""
    )


def _fill(reply: StoredReply, answer: Response) -> None:
    reply.status, reply.body = answer.status_code, orjson.dumps(answer.data, default=str)


def _stored(reply: StoredReply) -> Response | None:
    """The answer under this key, if there is one. Raises Conflict when it was given to another request."""
    found = StoredReply.objects.filter(token=reply.token, key=reply.key).first()
    if found is None:
        return None
    if found.request_sha256 != reply.request_sha256:
        raise Conflict(_("This Idempotency-Key was used with another request. Use a new one."))
    return Response(orjson.loads(bytes(found.body)), status=found.status, headers={REPLAYED: "true"})
