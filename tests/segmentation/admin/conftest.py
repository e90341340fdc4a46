from __future__ import annotations

import pytest
from django.core.cache import cache

from segmentation import targets
from segmentation.models import Shop


@pytest.fixture
def admin_user(db, django_user_model):
    """Signed in by force: hashing a password for every test would take most of the time."""
    return django_user_model.objects.create(username="root", is_staff=True, is_superuser=True)


@pytest.fixture(autouse=True)
def _fresh(db):
    """Cached counts of another test must not be seen; the standard targets are there from the first day."""
    cache.clear()
    Shop.get()
    targets.install()
