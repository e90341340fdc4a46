"""Every refusal as problem details (RFC 9457), whatever went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import status
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    NotAuthenticated,
    NotFound,
    ValidationError,
)
from rest_framework.exceptions import PermissionDenied as NotPermitted
from rest_framework.response import Response
from rest_framework.views import set_rollback

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
RETRY_SECONDS = 5


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = gettext_lazy("This does not fit what is there already.")
    default_code = "conflict"


class Unprocessable(APIException):
    """Understood, but it cannot be done. `more` are further members of the problem."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_detail = gettext_lazy("This cannot be done as asked.")
    default_code = "unprocessable"

    def __init__(self, detail: str | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.more = more


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("The database is away for a moment. Send the same request again.")
    default_code = "unavailable"
    wait = RETRY_SECONDS


class Failed(APIException):
    default_detail = gettext_lazy("Something went wrong here. It is in the log.")
    default_code = "internal"


def handle(error: Exception, context: Mapping[str, Any]) -> Response:
    """The answer to any exception of a view (REST_FRAMEWORK["EXCEPTION_HANDLER"])."""
    known = _known(error, context)
    set_rollback()
    return Response(
        _body(known), status=known.status_code, headers=_headers(known), content_type=CONTENT_TYPE
    )


def _known(error: Exception, context: Mapping[str, Any]) -> APIException:
    if isinstance(error, APIException):
        return error
    if isinstance(error, Http404):
        return NotFound()
    if isinstance(error, PermissionDenied):
        return NotPermitted()
    if isinstance(error, BadRequest | SuspiciousOperation):
        return ValidationError(_("The request cannot be read."))
    where = type(context["view"]).__name__
    if isinstance(error, OperationalError | InterfaceError):
        log.error("api.database_away", view=where, error=type(error).__name__)
        return Unavailable()
    log.exception("api.failed", view=where)
    return Failed()


def _body(error: APIException) -> dict[str, Any]:
    phrase = HTTPStatus(error.status_code).phrase
    body: dict[str, Any] = {
        "type": f"urn:tierwise:problem:{_code(error)}",
        "title": phrase,
        "status": error.status_code,
    }
    if isinstance(error, ValidationError):
        errors = list(_fields(error.detail))
        body["detail"] = " ".join(one["message"] for one in errors[:3])
        body["errors"] = errors
    else:
        body["detail"] = str(error.detail)
    return body | getattr(error, "more", {})


def _code(error: APIException) -> str:
    """Stable, for programs; sentences are for people and come in their language."""
    return "invalid" if isinstance(error, ValidationError) else str(error.default_code)


def _fields(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """DRF's nested messages as a flat list of {field, message}; an empty field means the whole request."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = "" if name == "non_field_errors" else str(name)
            yield from _fields(inner, ".".join(part for part in (path, own) if part))
    elif isinstance(detail, list | tuple):
        for inner in detail:
            yield from _fields(inner, path)
    else:
        yield {"field": path, "message": str(detail)}


def _headers(error: APIException) -> dict[str, str]:
    headers = {}
    if isinstance(error, NotAuthenticated | AuthenticationFailed):
        headers["WWW-Authenticate"] = getattr(error, "auth_header", "Bearer")
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers
