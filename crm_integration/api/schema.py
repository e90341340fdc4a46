"""The OpenAPI document, completed with what every operation shares; and the pages that show it, without the internet."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

from django.utils.translation import get_language
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from crm_integration.api.problems import CONTENT_TYPE
from crm_integration.api.queries import MOST
from crm_integration.models import Scope

_building = Lock()
_ALWAYS = {
    "400": "A parameter or the body is not as described.",
    "401": "No token, or one that is unknown, expired or revoked.",
    "403": "The token lacks the scope.",
    "406": "Only JSON is given.",
    "429": "Too many requests this minute; Retry-After says how long to wait.",
    "503": "The database is away for a moment; Retry-After says how long to wait.",
}
_POST = {
    "409": "It does not fit what is there already, or the Idempotency-Key was used with another request.",
    "413": "The body is too large.",
    "415": "The body is of another type than described.",
    "422": "Understood, but it cannot be done.",
}
_RETRY = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Send it back as If-None-Match."}}
_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]+$"},
    "description": "Sending the same request again under the same key repeats its answer, not its effect.",
}
_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "description": "The ETag of the answer you hold; 304 when it still stands.",
}


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "crm_integration.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        scopes = ", ".join(Scope.values)
        return {"type": "http", "scheme": "bearer", "description": f"A token tw_… with scopes of: {scopes}."}


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Postprocessing hook: refusals, ETags, Idempotency-Keys and scopes of every operation."""
    views = {path: view for path, _regex, _method, view in generator.endpoints}
    result["components"]["schemas"]["Problem"] = _problem()
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            _refusals(operation, method, has_row="{" in path)
            _headers(operation, method)
            _scope(operation, views[path], method)
    return result


def _refusals(operation: dict[str, Any], method: str, *, has_row: bool) -> None:
    told = dict(_ALWAYS)
    if method == "post":
        told |= _POST
    if has_row or operation["operationId"] in {"customers_lookup", "decisions_list"}:
        told["404"] = "There is no such thing, or it is not this token's."
    for status, description in sorted(told.items()):
        content = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answer: dict[str, Any] = {"description": description, "content": content}
        if status in {"429", "503"}:
            answer["headers"] = _RETRY
        operation["responses"].setdefault(status, answer)


def _headers(operation: dict[str, Any], method: str) -> None:
    parameters = operation.setdefault("parameters", [])
    if method == "post":
        parameters.append(_KEY)
    elif operation["operationId"] != "customers_contact":
        parameters.append(_MATCH)
        operation["responses"]["200"]["headers"] = _ETAG
        operation["responses"]["304"] = {"description": "What you hold still stands."}


def _scope(operation: dict[str, Any], view: Any, method: str) -> None:
    scope = view.cls.scopes[method.upper()]
    needs = f"Needs the scope `{scope.value}`." if scope else "Any token."
    told = operation.get("description", "")
    operation["summary"] = told.split(". ")[0].rstrip(".")
    operation["description"] = f"{told}\n\n{needs}"


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    error = {
        "type": "object",
        "properties": {"field": text, "message": text},
        "required": ["field", "message"],
    }
    item = {
        "type": "object",
        "properties": {"item": {"type": "integer"}, "status": text, "reason": text},
        "required": ["item", "status", "reason"],
    }
    return {
        "type": "object",
        "description": "RFC 9457. `type` is stable and for programs; `detail` is a sentence in the reader's language.",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "errors": {"type": "array", "items": error},
            "results": {"type": "array", "items": item, "maxItems": 2 * MOST},
        },
        "required": ["type", "title", "status", "detail"],
    }


def _document(language: str) -> dict[str, Any]:
    """One thread at a time: drf-spectacular finds its extensions while it builds, and two at once find them half made."""
    with _building:
        return _built(language)


@lru_cache(maxsize=4)
def _built(_language: str) -> dict[str, Any]:
    """Built once a process and language: it takes longer than a page of customers."""
    return SchemaGenerator().get_schema(request=None, public=True)


class SchemaView(SpectacularJSONAPIView):
    """The document itself holds no data, so it is open."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = [AllowAny]

    def _get_schema_response(self, request: Request) -> Response:
        return Response(_document(get_language() or ""))


class DocsView(SpectacularSwaggerSplitView):
    """A page to read and try the document; its script comes from here and is no inline one."""

    url_name = "api_schema"
    authentication_classes: list[Any] = []
    permission_classes: list[Any] = [AllowAny]
    renderer_classes: list[Any] = [TemplateHTMLRenderer]


class _Anything(DefaultContentNegotiation):
    """An address that does not exist is refused as JSON, whatever was asked for."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class NowhereView(APIView):
    """Every other address below /api/, with any method."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = [AllowAny]
    content_negotiation_class = _Anything

    @extend_schema(exclude=True)
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound
