from datetime import UTC, datetime

import pytest

from segmentation.models import EventSource


@pytest.fixture
def now():
    return datetime(2024, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def source(db):
    return EventSource.objects.create(slug="crm", live_since=datetime(2024, 1, 1, tzinfo=UTC))
