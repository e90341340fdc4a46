"""The webhook door as a view, for servers that do not come in by `crm_integration.wsgi`."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from crm_integration.webhook_door import Arrived, answer


@csrf_exempt
def receive_webhook(request: HttpRequest, slug: str) -> HttpResponse:
    """POST /hooks/<slug>/"""
    said = answer(Arrived(slug, request.META, request.read))
    return JsonResponse(said.content, status=said.status, headers=said.headers)
