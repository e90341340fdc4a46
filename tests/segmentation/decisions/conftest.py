from __future__ import annotations

import pytest

from segmentation import targets


@pytest.fixture(autouse=True)
def _targets(db):
    """The standard scores are rule fields from the first day."""
    targets.install()
