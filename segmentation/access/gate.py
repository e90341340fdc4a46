"""Before the console: whoever has a second factor has shown it, whoever must have one sets it up first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse

from segmentation.access import second_factor

Answer = Callable[[HttpRequest], HttpResponseBase]
# In the session: when the second factor was set up that this session has shown.
SHOWN = "second_factor"
# Open to whoever has shown their password alone.
_OPEN = ("admin:login", "admin:logout", "admin:jsi18n", "sign_in_code", "second_factor")


def mark_shown(request: HttpRequest, user: Any) -> None:
    """This session has shown the factor that is in force now (a new one is asked for again)."""
    if stamp := second_factor.stamp(user):
        request.session[SHOWN] = stamp


def second_factor_gate(get_response: Answer) -> Answer:
    """Middleware, after authentication. Without second factors it costs no query."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(reverse("admin:index")) or not request.user.is_authenticated:
            return get_response(request)
        where = _detour(request)
        if where is None or request.path in {reverse(name) for name in _OPEN}:
            return get_response(request)
        if request.method != "GET" or request.headers.get("X-Requested-With"):
            return HttpResponse(status=403)
        return HttpResponseRedirect(then(where, request.get_full_path()))

    return answer


def then(name: str, target: str) -> str:
    """The address of the page that leads on to `target`, with whatever that asks for."""
    return f"{reverse(name)}?{urlencode({'next': target}, safe='/')}"


def _detour(request: HttpRequest) -> str | None:
    stamp = second_factor.stamp(request.user)
    if not stamp:
        return "second_factor" if second_factor.is_required(request.user) else None
    return None if request.session.get(SHOWN) == stamp else "sign_in_code"
