"""Every door of the web process."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.generic import RedirectView


def alive(request: HttpRequest) -> HttpResponse:
    """For load balancers: the process answers; it says nothing about the database or the workers."""
    return HttpResponse("ok", content_type="text/plain")


urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("healthz", alive, name="alive"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("crm_integration.urls")),
    path("admin/", include("segmentation.access.urls")),
    path("admin/", admin.site.urls),
]
