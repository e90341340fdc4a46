"""The network that the harness plays does what it is said to do."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Thread

import pytest

from tests.chaos.proxy import Proxy, can_forget

SILENCE = 1.0  # seconds without an answer on a loopback that echoes


@pytest.fixture
def proxy():
    """In front of a server that says everything again."""
    server = socket.create_server(("127.0.0.1", 0))

    def echo(line):
        with suppress(OSError):
            while heard := line.recv(100):
                line.sendall(heard)

    def serve():
        with suppress(OSError):
            while True:
                Thread(target=echo, args=(server.accept()[0],), daemon=True).start()

    Thread(target=serve, daemon=True).start()
    running = Proxy(server.getsockname()[1])
    yield running
    running.close()
    server.close()


def call(proxy):
    line = socket.create_connection(("127.0.0.1", proxy.port))
    line.settimeout(SILENCE)
    return line


def answer(line, word=b"hello"):
    line.sendall(word)
    return line.recv(100)


def test_a_swallowed_connection_stays_open_and_silent_and_a_new_one_works(proxy):
    old = call(proxy)
    assert answer(old) == b"hello"
    assert proxy.swallow() == 1
    with pytest.raises(TimeoutError):
        answer(old)
    assert answer(call(proxy)) == b"hello"
    with pytest.raises(TimeoutError):
        answer(old)


def is_dead(line):
    """Reset or closed, whichever the other side hears first; not silent."""
    try:
        return answer(line) == b""
    except ConnectionError:
        return True


def test_a_cut_connection_is_dead_and_none_is_taken_until_it_is_restored(proxy):
    old = call(proxy)
    assert answer(old) == b"hello"
    proxy.cut()
    assert is_dead(old)
    assert is_dead(call(proxy))
    proxy.restore()
    assert answer(call(proxy)) == b"hello"


@pytest.mark.skipif(not can_forget(), reason="only root lets connections vanish")
def test_a_forgotten_connection_is_silent_until_something_is_said_over_it(proxy):
    old = call(proxy)
    assert answer(old) == b"hello"
    assert proxy.forget() == 1
    with pytest.raises(TimeoutError):
        old.recv(100)
    old.sendall(b"hello?")
    assert is_dead(old)
    assert answer(call(proxy)) == b"hello"


def test_a_worn_connection_is_reset_and_the_next_carries_as_much(proxy):
    proxy.wear = 15
    for _ in range(2):
        line = call(proxy)
        assert answer(line) == b"hello"
        assert is_dead(line)
    proxy.restore()
    line = call(proxy)
    assert [answer(line) for _ in range(5)] == [b"hello"] * 5


def test_what_is_said_over_a_slow_connection_arrives_later(proxy):
    line = call(proxy)
    proxy.delay = 2 * SILENCE
    with pytest.raises(TimeoutError):
        answer(line)
    proxy.restore()
    line.settimeout(10 * SILENCE)
    assert line.recv(100) == b"hello"
