"""A message's body in full: for who may read personal data, on request, and every look is written down."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t

from crm_integration.admin import bodies
from segmentation.admin.base import View, post_only, requires
from segmentation.models import AuditEntry

SEE_BODY = "crm_integration.view_message_body"


class BodyPage:
    """Mixed into the admins of messages, both directions."""

    def body_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/body/", self.body_view, "body")]

    def body_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        return post_only(SEE_BODY)(BodyPage._body)(self, request, pk)

    def _body(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, f"crm_integration.view_{self.opts.model_name}")
        message = get_object_or_404(self.model, pk=pk)
        AuditEntry.record("message.body_read", message, actor=request.user)
        page: HttpResponse = self.page(
            request,
            "crm_integration/message_body.html",
            title=_t("Body of message %(number)s") % {"number": message.pk},
            object=message,
            body_text=bodies.shown(message.body, in_full=True),
            back=self.url("change", message.pk),
        )
        page["Cache-Control"] = "no-store"
        return page
