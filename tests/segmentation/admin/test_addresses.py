"""Addresses that can be no row's are answered like those of rows that are gone."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import reverse

from segmentation.models import Shop

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("key", ["abc", "9" * 40, "1%00", "-1"])
def test_a_key_that_no_row_can_have_breaks_no_page(admin_client, key):
    Shop.get()
    admin_client.raise_request_exception = False
    for model in admin.site._registry:
        for what in ("change", "delete", "history"):
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}"
            address = reverse(name, args=["KEY"]).replace("KEY", key)
            assert admin_client.get(address).status_code < 500, address
