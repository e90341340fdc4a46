"""The console tells the shop's time on every page, in every list and in every form."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from segmentation.models import Shop

Answer = Callable[[HttpRequest], HttpResponseBase]


def shop_clock(get_response: Answer) -> Answer:
    """Middleware. Webhooks and whoever is not signed in cost no look at the shop."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(reverse("admin:index")) or not request.user.is_authenticated:
            return get_response(request)
        with timezone.override(Shop.get().zone):
            return get_response(request)

    return answer
