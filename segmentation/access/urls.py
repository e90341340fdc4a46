"""Before the console's own addresses in config/urls.py, so that its sign-in is ours."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from segmentation.access import pages

urlpatterns = [
    path("login/", pages.SignIn.as_view(), name="sign_in"),
    path("login/code/", pages.sign_in_code, name="sign_in_code"),
    path("password_change/", admin.site.admin_view(pages.own_password, cacheable=True), name="own_password"),
    path("second-factor/", admin.site.admin_view(pages.second_factor_page), name="second_factor"),
]
