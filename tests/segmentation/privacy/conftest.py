from __future__ import annotations

import pytest
from django.core.cache import cache

from segmentation import targets
from tests.crm_integration import fixtures


@pytest.fixture(autouse=True)
def _own_files(settings, tmp_path):
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()


@pytest.fixture(autouse=True)
def _fresh(db):
    cache.clear()
    targets.install()


@pytest.fixture
def connection(db):
    return fixtures.connection(url="https://crm.example.com/hook")
