"""The doors for CRMs."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from crm_integration import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("hooks/<slug:slug>/", views.receive_webhook, name="receive_webhook"),
    path("api/", include("crm_integration.api.urls")),
]
