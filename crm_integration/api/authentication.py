"""Who is asking: a bearer token, nothing else. Sessions of the console open nothing here."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from crm_integration import tokens
from crm_integration.models import ApiToken

SCHEME = "Bearer"


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer tw_…`. The token is `request.auth`; it acts for no person."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiToken] | None:
        scheme, _space, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != SCHEME.lower():
            return None
        token = tokens.find(text.strip())
        if token is None:
            raise AuthenticationFailed(_("This is no token of ours."))
        if problem := tokens.state_problem(token, now=timezone.now()):
            raise AuthenticationFailed(problem)
        return AnonymousUser(), token

    def authenticate_header(self, request: Request) -> str:
        return SCHEME
