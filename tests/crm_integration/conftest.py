from __future__ import annotations

import hypothesis
import pytest

from tests.crm_integration import fixtures
from tests.crm_integration.fake_crm import crm  # noqa: F401
from tests.crm_integration.fake_vendor import vendor  # noqa: F401

# Machines that run tests are shared; how long one example takes says nothing here.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture
def connection(db):
    return fixtures.connection()
