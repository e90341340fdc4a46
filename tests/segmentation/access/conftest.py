from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from segmentation.models import Shop

PASSWORD = "a long password"


@pytest.fixture
def ada(db):
    Shop.get()
    return User.objects.create_superuser("ada@example.com", password=PASSWORD)


@pytest.fixture
def knock(client):
    """knock(name, password, address) posts the console's form and returns its answer."""

    def tried(name="ada@example.com", password=PASSWORD, *, address="192.0.2.1", by=client, **more):
        given = {"username": name, "password": password}
        return by.post(reverse("admin:login"), given, REMOTE_ADDR=address, **more)

    return tried
