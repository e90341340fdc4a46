from __future__ import annotations

import pytest

from tests.support import mini_shop


@pytest.fixture(autouse=True)
def _own_cache(settings, tmp_path):
    settings.VAR_DIR = tmp_path


@pytest.fixture
def admin_user(db, django_user_model):
    """Signed in by force: hashing a password for every test would take most of the time."""
    return django_user_model.objects.create(username="root", is_staff=True, is_superuser=True)


@pytest.fixture
def small_shop(db):
    return mini_shop.build(320)
