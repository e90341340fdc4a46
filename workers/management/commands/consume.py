from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workers.consumer import Consumer, NoBroker


class Command(BaseCommand):
    help = "Read the queues of the connections that have one, until SIGTERM (see docs/queues.md)."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            consumer = Consumer()
        except NoBroker:
            raise CommandError(
                "There is no queue door with the embedded broker: name RabbitMQ or Redis in CELERY_BROKER_URL."
            ) from None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_signal: consumer.stop())
        consumer.run()
