"""Signing in with a name and a password, then with a code where there is a second factor, and setting that up."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import BACKEND_SESSION_KEY, login, logout
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _t
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from segmentation import crypto
from segmentation.access import gate, second_factor
from segmentation.access.forms import CodeForm, SignInForm, known_device, remember_device
from segmentation.access.second_factor import FactorRefused
from segmentation.models import AuditEntry, SecondFactor

# In the session between the password and the code.
_HALF = "signing_in"
# Which secret this session is setting up.
_BEGUN = "second_factor_begun"
HALF_SECONDS = 600


@method_decorator(never_cache, name="dispatch")
class SignIn(LoginView):
    """The door of the console."""

    template_name = "admin/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = False

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if admin.site.has_permission(request):
            return redirect("admin:index")
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            **admin.site.each_context(self.request),
            "title": _t("Log in"),
            "app_path": self.request.get_full_path(),
        }

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        if second_factor.of(user) is None:
            return _signed_in(self.request, user, user.backend, self.get_success_url())
        # Whoever was signed in here would otherwise be asked for their own code.
        logout(self.request)
        self.request.session[_HALF] = {
            "user": user.pk,
            "backend": user.backend,
            "at": int(time.time()),
            "password": user.get_session_auth_hash(),
        }
        return HttpResponseRedirect(gate.then("sign_in_code", self.get_success_url()))

    def form_invalid(self, form: Any) -> HttpResponse:
        return _refused(super().form_invalid(form), form)


@never_cache
@sensitive_post_parameters("code")
def sign_in_code(request: HttpRequest) -> HttpResponse:
    """The second step; also for who was signed in before the second factor was set up elsewhere."""
    user, backend = _half_signed_in(request)
    if user is None:
        return redirect("admin:login")
    form = CodeForm(request, user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        if form.opened_by == "recovery":
            factor = second_factor.of(user)
            left = second_factor.codes_left(factor) if factor is not None else 0
            messages.warning(request, _t("A recovery code was used; %(left)d are left.") % {"left": left})
        return _signed_in(request, user, backend, _next(request))
    context = {
        **admin.site.each_context(request),
        "title": _t("Second step"),
        "form": form,
        "app_path": request.get_full_path(),
    }
    return _refused(TemplateResponse(request, "tierwise/sign_in_code.html", context), form)


@sensitive_post_parameters("code")
def second_factor_page(request: HttpRequest) -> HttpResponse:
    """A person's own second factor: set it up, get new recovery codes, take it away."""
    user: Any = request.user
    if second_factor.of(user) is not None:
        return _in_force(request, user)
    if request.method == "POST" and "code" not in request.POST:
        with contextlib.suppress(FactorRefused):  # set up elsewhere at this moment
            request.session[_BEGUN] = _mark(second_factor.begin(user))
        return redirect("second_factor")
    if request.method == "POST":
        try:
            codes = second_factor.confirm(user, request.POST["code"], now=timezone.now())
        except FactorRefused:
            messages.error(
                request,
                _t("This code does not fit. Look at the clock of your telephone, and use its newest code."),
            )
            return redirect("second_factor")
        return _with_codes(request, user, codes)
    return _page(request, required=second_factor.is_required(user), **_to_set_up(request, user))


def _to_set_up(request: HttpRequest, user: Any) -> dict[str, Any]:
    """The secret to set up, once this session has asked for one; another session's is not shown."""
    factor = SecondFactor.objects.filter(user=user).first()
    if factor is None or request.session.get(_BEGUN) != _mark(factor):
        return {}
    secret = factor.secret
    return {
        "picture": mark_safe(second_factor.picture(factor)),  # noqa: S308  # drawn by us from our own secret
        "secret": " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
    }


def _mark(factor: SecondFactor) -> str:
    return crypto.pseudonym("second factor begun", factor.secret)


def own_password(request: HttpRequest) -> HttpResponse:
    """The console's page, with an audit entry when the password is another one afterwards."""
    user: Any = request.user
    before = user.password
    answer = admin.site.password_change(request)
    now = User.objects.select_related("second_factor").get(pk=user.pk)
    if now.password != before:
        AuditEntry.record("password.changed", user, actor=user)
        remember_device(request, answer, now, device=secrets.token_urlsafe(16))
    return answer


def _in_force(request: HttpRequest, user: Any) -> HttpResponse:
    """Whoever changes it shows a code once more: an open session is not enough."""
    form = CodeForm(request, user, request.POST or None)
    required = second_factor.is_required(user)
    if request.method == "POST" and form.is_valid():
        if request.POST.get("what") == "drop" and not required:
            second_factor.drop(user, by=user)
            messages.success(request, _t("The second step is off."))
            return redirect("second_factor")
        return _with_codes(request, user, second_factor.renew_codes(user))
    factor = second_factor.of(user)
    left = second_factor.codes_left(factor) if factor is not None else 0
    return _refused(_page(request, form=form, factor=factor, codes_left=left, required=required), form)


def _with_codes(request: HttpRequest, user: Any, codes: list[str]) -> HttpResponse:
    """Shown in the answer to the POST and never again."""
    fresh = User.objects.select_related("second_factor").get(pk=user.pk)
    gate.mark_shown(request, fresh)
    answer = _page(request, codes=codes)
    answer["Cache-Control"] = "no-store"
    return answer


def _page(request: HttpRequest, **context: Any) -> TemplateResponse:
    request.current_app = admin.site.name
    full = {**admin.site.each_context(request), "title": _t("Second step when signing in"), **context}
    return TemplateResponse(request, "tierwise/second_factor.html", full)


def _half_signed_in(request: HttpRequest) -> tuple[Any, str]:
    if request.user.is_authenticated:
        return request.user, request.session[BACKEND_SESSION_KEY]
    half = request.session.get(_HALF)
    if half is None or int(time.time()) - half["at"] > HALF_SECONDS:
        return None, ""
    user = User.objects.select_related("second_factor").filter(pk=half["user"], is_active=True).first()
    if user is None or not constant_time_compare(half.get("password", ""), user.get_session_auth_hash()):
        return None, ""
    return user, half["backend"]


def _signed_in(request: HttpRequest, user: Any, backend: str, target: str) -> HttpResponse:
    device = known_device(request, user) or secrets.token_urlsafe(16)
    login(request, user, backend=backend)
    request.session.pop(_HALF, None)
    gate.mark_shown(request, user)
    AuditEntry.record("sign_in", user, actor=user)
    answer = HttpResponseRedirect(target)
    remember_device(request, answer, user, device=device)
    return answer


def _next(request: HttpRequest) -> str:
    target = request.GET.get("next", "")
    hosts = {request.get_host()}
    safe = url_has_allowed_host_and_scheme(target, allowed_hosts=hosts, require_https=request.is_secure())
    return target if target and safe else reverse("admin:index")


def _refused(answer: Any, form: Any) -> HttpResponse:
    """429 with Retry-After while there is a wait (RFC 6585), and the words of the form on the page."""
    refused: HttpResponse = answer
    if form.wait_seconds:
        refused.status_code = 429
        refused["Retry-After"] = str(form.wait_seconds)
    return refused
