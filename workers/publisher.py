"""Publishes to the broker what leaves through the outbox (settings.MESSAGE_PUBLISHER), under publisher confirms."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from kombu import Connection, Exchange, Producer
from kombu.exceptions import OperationalError
from kombu.pools import producers

from crm_integration.broker import Publication
from crm_integration.http import DeliveryError
from workers.sender import hanging_up

CONFIRM_SECONDS = 10


def publish(publication: Publication) -> None:
    """Returns when the broker has confirmed the message, and a queue has it if it must arrive. Raises DeliveryError."""
    exchange = Exchange(publication.exchange, type="topic", durable=True)
    template = _connection(settings.CELERY_BROKER_URL)
    errors = (*template.connection_errors, *template.channel_errors)
    try:
        with producers[template].acquire(block=True) as producer, hanging_up(producer):
            exchange(producer.channel).declare()
            is_routed = _send(producer, exchange, publication)
    except (OperationalError, *errors) as error:
        raise DeliveryError(
            _("The message broker did not take it (%(error)s).") % {"error": type(error).__name__}
        ) from error
    if publication.must_arrive and not is_routed:
        raise DeliveryError(
            _("No queue is bound to the exchange %(exchange)s for %(key)s; nobody would get it.")
            % {"exchange": publication.exchange, "key": publication.routing_key}
        )


def _connection(url: str) -> Connection:
    """Not yet opened: it names the pool that holds the open ones. Each publish waits for the broker's confirm."""
    once = {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}
    if url.startswith("amqp"):
        return Connection(url, connect_timeout=5, transport_options={**once, "confirm_publish": True})
    return Connection(url, transport_options={**once, "socket_timeout": 5, "socket_connect_timeout": 5})


def _send(producer: Producer, exchange: Exchange, publication: Publication) -> bool:
    """Publish once; False when no queue took it."""
    channel: Any = producer.channel
    returned: list[object] = []
    if hasattr(channel, "events"):  # AMQP gives back what it cannot route, before it confirms
        channel.events["basic_return"] = {lambda *given: returned.append(given)}
    producer.publish(
        publication.body.decode(),
        exchange=exchange.name,
        routing_key=publication.routing_key,
        headers=dict(publication.headers),
        content_type="application/json",
        content_encoding="utf-8",
        message_id=publication.message_id,
        delivery_mode=2,
        mandatory=True,
        confirm_timeout=CONFIRM_SECONDS,
    )
    if hasattr(channel, "get_table"):  # Redis: the bindings are known here
        bound = channel.typeof(exchange.name).lookup(
            channel.get_table(exchange.name), exchange.name, publication.routing_key, None
        )
        return bool(bound)
    return not returned
