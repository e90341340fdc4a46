"""The doors for CRMs."""

from __future__ import annotations

from django.urls import URLPattern, path

from crm_integration import views

urlpatterns: list[URLPattern] = [path("hooks/<slug:slug>/", views.receive_webhook, name="receive_webhook")]
