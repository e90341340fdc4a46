"""A look at the broker for the console (settings.BROKER_PROBE): reachable or not, and how much waits in it."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from kombu.exceptions import KombuError

from crm_integration.broker import BrokerState
from workers import queues

CONNECT_SECONDS = 1.0
COUNT_CAP = 1000


def look() -> BrokerState:
    """Within about a second. Never raises."""
    from workers.celery import NUDGE_OPTIONS, app

    if settings.CELERY_BROKER_URL.startswith("embedded"):
        return _embedded()
    kind, where = _named(settings.CELERY_BROKER_URL)
    options = {**app.conf.broker_transport_options, **NUDGE_OPTIONS, "max_retries": 0}
    try:
        with app.connection_for_read(
            connect_timeout=CONNECT_SECONDS, transport_options=options
        ) as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
            errors = (*connection.connection_errors, *connection.channel_errors)
            channel = connection.default_channel
            waiting: dict[str, int | None] = {}
            for name in queues.QUEUES:
                try:
                    waiting[name] = channel.queue_declare(queues.full_name(name), passive=True).message_count
                except errors:  # no worker made this queue yet; the broker closes the channel over it
                    waiting[name] = None
                    channel = connection.channel()
            return BrokerState(kind, where, is_reachable=True, waiting=waiting)
    except (KombuError, OSError) as error:
        return BrokerState(kind, where, is_reachable=False, problem=type(error).__name__)


def _embedded() -> BrokerState:
    from workers.models import QueuedMessage

    waiting: dict[str, int | None] = {}
    for name in queues.QUEUES:
        rows = QueuedMessage.objects.filter(queue=queues.full_name(name))
        waiting[name] = len(rows.values_list("pk", flat=True)[: COUNT_CAP + 1])
    return BrokerState("embedded", "", is_reachable=True, waiting=waiting)


def _named(url: str) -> tuple[str, str]:
    """(kind, host:port), and never the login that the address holds."""
    parts = urlsplit(url)
    kind = "RabbitMQ" if parts.scheme.removeprefix("py").startswith("amqp") else "Redis"
    return kind, f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
