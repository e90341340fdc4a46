"""The cell that a run of the tests is about, by its database and broker."""

from __future__ import annotations

import os

from django.conf import settings

SQLITE = "sqlite" in settings.DATABASES["default"]["ENGINE"]
_broker = os.environ.get("CELERY_BROKER_URL", "embedded://").partition("://")[0]
_servers = {"amqp": "postgresql-rabbitmq", "redis": "postgresql-redis"}
CELL = "sqlite" if SQLITE else _servers.get(_broker, "postgresql")
