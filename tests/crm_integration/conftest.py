from __future__ import annotations

import pytest

from tests.crm_integration import fixtures
from tests.crm_integration.fake_crm import crm  # noqa: F401
from tests.crm_integration.fake_vendor import vendor  # noqa: F401


@pytest.fixture
def connection(db):
    return fixtures.connection()
