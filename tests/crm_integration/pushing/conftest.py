from __future__ import annotations

import pytest

from tests.crm_integration import fake_vendor
from tests.crm_integration.pushing.kinds import KINDS


@pytest.fixture(params=KINDS, ids=lambda kind: kind.slug)
def kind(request):
    return request.param


@pytest.fixture
def crm_api(kind, settings, monkeypatch):
    """The vendor's fake, which every kind asks instead of the real one."""
    with fake_vendor.running(kind.make()) as fake:
        fake_vendor.take_the_place_of_all(fake, settings, monkeypatch)
        yield fake


@pytest.fixture
def row(kind, crm_api, db):
    return kind.connect()
