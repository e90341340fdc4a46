"""What every resource shares: tokens, scopes, counted requests, JSON, problems, ETags."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from django.db import DataError
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_vary_headers
from rest_framework import serializers
from rest_framework.exceptions import NotFound, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from crm_integration import tokens
from crm_integration.api.pagination import KeysetPagination
from crm_integration.api.queries import Filters, NoFilters, Query
from crm_integration.models import ApiToken, Scope
from segmentation.models import Shop


class Resource(APIView):
    """A view of the REST door. `scopes`: method → what a token needs (None: any token)."""

    scopes: ClassVar[Mapping[str, Scope | None]]
    query: ClassVar[type[Filters]] = NoFilters
    is_private: ClassVar[bool] = False  # True: nobody keeps a copy of the answer
    http_method_names = ["get", "post", "head"]
    raw_body: bytes = b""

    @property
    def token(self) -> ApiToken:
        token = self.request.auth
        assert isinstance(token, ApiToken)
        return token

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in {"GET", "HEAD", "POST"}:
            self.wanted = (NoFilters if request.method == "POST" else self.query).read(request)

    def check_permissions(self, request: Request) -> None:
        """Requests are counted before scopes are looked at, so that probing costs the prober too."""
        if isinstance(request.auth, ApiToken) and (
            wait := tokens.take_turn(request.auth, now=timezone.now())
        ):
            raise Throttled(wait=wait)
        super().check_permissions(request)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        keep = "no-store" if self.is_private or request.method == "POST" else "private, no-cache"
        response["Cache-Control"] = keep
        patch_vary_headers(response, ["Authorization", "Accept-Language"])
        if request.method in {"GET", "HEAD"} and response.status_code == 200 and not self.is_private:
            response.add_post_render_callback(_conditional)
        return response


def _conditional(response: Any) -> HttpResponse | None:
    """Name the content by its hash, and answer 304 to who has it already."""
    etag = f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    response["ETag"] = etag
    request = response.renderer_context["request"]._request
    found = get_conditional_response(request, etag=etag, response=response)
    return None if found is response else found


def one(rows: QuerySet[Any], **which: Any) -> Any:
    """The row, or NotFound, also for ids that no row can have."""
    try:
        row = rows.filter(**which).first()
    except (OverflowError, ValueError, DataError) as error:
        raise NotFound from error
    if row is None:
        raise NotFound
    return row


class ListResource(Resource):
    """GET gives a page of rows in the order of `ordering`, which must end in something unique."""

    ordering: ClassVar[tuple[str, ...]] = ("id",)
    query: ClassVar[type[Filters]] = Query
    serializer: ClassVar[type[serializers.Serializer]]
    tells_money: ClassVar[bool] = False
    pagination_class = KeysetPagination

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Any]:
        raise NotImplementedError

    def page(self, request: Request) -> Response:
        wanted, paginator = self.wanted, self.pagination_class()
        rows = paginator.page(
            self.rows(wanted), ordering=self.ordering, cursor=wanted["cursor"], limit=wanted["limit"]
        )
        context = {"shop": Shop.get()} if self.tells_money else {}
        shown = self.serializer(rows, many=True, context=context)
        return Response({"next": paginator.next_link(request), "results": shown.data})
