"""kombu's transport for Redis, with two differences: a message that cannot be acknowledged takes up no place, and a
Redis that has no room is away for a while.
"""

from __future__ import annotations

from kombu.transport import redis, virtual
from redis.exceptions import OutOfMemoryError


class QoS(redis.QoS):
    """Whatever Redis says, the message leaves the worker's hands.

    kombu keeps it among those the worker holds. When Redis goes away while every child works, each of their
    acknowledgements fails, no place is left, and so the worker asks for nothing more, and never hears that its
    connection is gone: it lives on and works no more. Its message comes again when its visibility runs out; what it
    was about is in the rows.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue=requeue)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):
    QoS = QoS


class Transport(redis.Transport):
    Channel = Channel
    # Without room Redis refuses even acknowledgements: the worker waits and connects again; else it would end.
    connection_errors = (*redis.Transport.connection_errors, OutOfMemoryError)
