"""What a token may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from crm_integration.models import ApiToken, Scope


class HasScope(BasePermission):
    """Every method that a view answers names its scope; one that names none is closed."""

    def has_permission(self, request: Request, view: Any) -> bool:
        method = "GET" if request.method == "HEAD" else str(request.method)
        if method.lower() not in view.http_method_names or not hasattr(view, method.lower()):
            return True  # goes on to be refused with 405
        token = request.auth
        if not isinstance(token, ApiToken):
            raise NotAuthenticated
        scopes: Mapping[str, Scope | None] = getattr(view, "scopes", {})
        if method not in scopes:
            return False
        needed = scopes[method]
        if needed is not None and needed.value not in token.scopes:
            raise PermissionDenied(_("The token lacks the scope “%(scope)s”.") % {"scope": needed.value})
        return True
