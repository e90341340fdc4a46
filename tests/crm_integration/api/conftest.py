from __future__ import annotations

import pytest

from tests.crm_integration.api import world


@pytest.fixture(autouse=True)
def _var(settings, tmp_path):
    """Where uploads are kept."""
    settings.VAR_DIR = tmp_path


@pytest.fixture
def api(client, db):
    """A client whose token may do everything."""
    return world.Api(client, world.token())


@pytest.fixture
def reader(client, db):
    """A client whose token may read everything and write nothing."""
    return world.Api(client, world.token(world.READING))
