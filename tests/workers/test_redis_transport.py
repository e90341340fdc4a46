"""A worker on Redis goes on after its Redis was away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kombu.transport import virtual
from redis.exceptions import OutOfMemoryError

from workers.celery import app
from workers.redis_transport import QoS, Transport


class Away(OSError):
    pass


@pytest.fixture
def held():
    """What a worker with one place holds while its Redis is away."""

    def no_redis(*arguments, **options):
        raise Away

    qos = QoS(SimpleNamespace(conn_or_acquire=no_redis), prefetch_count=1)
    virtual.QoS.append(qos, SimpleNamespace(), "tag")
    assert not qos.can_consume()
    yield qos
    qos._on_collect.cancel()


def test_the_worker_uses_it_for_redis():
    for url in ("redis://127.0.0.1/", "rediss://127.0.0.1/"):
        assert app.connection_for_read(url).get_transport_cls() is Transport


def test_a_redis_without_room_is_waited_for():
    """Whatever the worker asks of it, an acknowledgement too, it takes for a connection that is lost."""
    assert issubclass(OutOfMemoryError, app.connection_for_read("redis://127.0.0.1/").connection_errors)


@pytest.mark.parametrize(
    "end",
    [
        lambda qos: qos.ack("tag"),
        lambda qos: qos.reject("tag"),
        lambda qos: qos.reject("tag", requeue=True),
    ],
    ids=["acknowledged", "rejected", "given back"],
)
def test_a_message_that_redis_cannot_be_told_of_takes_up_no_place_in_the_worker(held, end):
    with pytest.raises(Away):
        end(held)
    assert held.can_consume()
