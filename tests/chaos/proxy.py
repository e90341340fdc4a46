"""A TCP proxy that can cut, refuse, stall, swallow, forget, delay and wear out: the network before a server."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock, Thread

RESET = struct.pack(
    "ii", 1, 0
)  # SO_LINGER with no time: the other side sees a reset, as from a killed server
TCP_REPAIR = 19  # linux/tcp.h
ANY = ctypes.create_string_buffer(16)  # a socket address of no family: connecting there disconnects


@dataclass(eq=False)
class Line:
    """One connection: the product's end, the server's end, and whether what is said on it is lost."""

    client: socket.socket
    server: socket.socket
    swallows: bool = False
    carried: int = 0  # bytes, both ways

    @property
    def ends(self) -> tuple[socket.socket, socket.socket]:
        return self.client, self.server


class Proxy:
    """Listens on a port of its own and forwards to `target` while it is up."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lines: set[Line] = set()
        self._lock = Lock()
        self._flowing = Event()
        self._flowing.set()
        self._is_up = True
        self.delay = 0.0  # seconds that whatever the server says waits
        self.wear: int | None = None  # bytes after which a connection is reset
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection and refuse new ones until `restore`."""
        self._is_up = False
        self._reset_all()

    def stall(self) -> None:
        """Keep connections open and forward nothing until `restore`."""
        self._flowing.clear()

    def swallow(self) -> int:
        """Every connection of this moment is half open from now on: it takes bytes, and none arrive. Returns how many.

        As behind a router that forgot it. New connections work.
        """
        with self._lock:
            for line in self._lines:
                line.swallows = True
            return len(self._lines)

    def forget(self) -> int:
        """Both ends of every connection lose the other without a word, as when its machine lost its power.

        Whoever says something over it is told that nobody knows it; whoever waits is told nothing. New connections
        work. Returns how many; raises OSError where this process may not (Linux, CAP_NET_ADMIN).
        """
        with self._lock:
            lines, self._lines = self._lines, set()
        for end in (end for line in lines for end in line.ends):
            _vanish(end)
        return len(lines)

    def restore(self) -> None:
        self._is_up, self.delay, self.wear = True, 0.0, None
        self._flowing.set()

    def close(self) -> None:
        self.cut()
        self._flowing.set()
        self._server.close()

    def _reset_all(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, set()
        self._reset(lines)

    @staticmethod
    def _reset(lines: Iterable[Line]) -> None:
        for end in (end for line in lines for end in line.ends):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._server.accept()
            except OSError:
                return
            if not self._is_up:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            line = Line(client, server)
            with self._lock:
                self._lines.add(line)
            for source, sink in (line.ends, line.ends[::-1]):
                Thread(target=self._pump, args=(line, source, sink), daemon=True).start()

    def _pump(self, line: Line, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError, ValueError):  # it may be closed at any time
            while content := _heard(source):
                self._flowing.wait()
                if source is line.server:
                    time.sleep(self.delay)
                line.carried += len(content)
                if self.wear is not None and line.carried > self.wear:
                    self._reset([line])
                elif not line.swallows:
                    sink.sendall(content)
        # Nobody hears that the other end of a half-open connection hung up.
        for end in (source,) if line.swallows else line.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._forget(line)

    def _forget(self, line: Line) -> None:
        """Closed when nobody reads either end any more; a long run must not collect sockets."""
        with self._lock:
            self._lines.discard(line)


def _heard(source: socket.socket) -> bytes:
    """As `recv`, but nobody waits inside of it: a socket that somebody waits in cannot vanish."""
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    waiting.poll()
    return source.recv(65536)


def _vanish(end: socket.socket) -> None:
    """Disconnect without telling the other side: a socket under repair sends nothing."""
    end.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    if ctypes.CDLL(None, use_errno=True).connect(end.fileno(), ANY, len(ANY)):
        raise OSError(ctypes.get_errno(), "the connection does not vanish")


def can_forget() -> bool:
    """Whether this process may let connections vanish."""
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        return True
    return False
