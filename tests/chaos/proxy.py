"""A TCP proxy that can cut, refuse and stall: the network between the product and a broker that others use too."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from threading import Event, Lock, Thread

RESET = struct.pack(
    "ii", 1, 0
)  # SO_LINGER with no time: the other side sees a reset, as from a killed server


class Proxy:
    """Listens on a port of its own and forwards to `target` while it is up."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._pairs: set[socket.socket] = set()
        self._lock = Lock()
        self._flowing = Event()
        self._flowing.set()
        self._is_up = True
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

    def restore(self) -> None:
        self._is_up = True
        self._flowing.set()

    def close(self) -> None:
        self.cut()
        self._flowing.set()
        self._server.close()

    def _reset_all(self) -> None:
        with self._lock:
            ends, self._pairs = self._pairs, set()
        for end in ends:
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
            with self._lock:
                self._pairs |= {client, server}
            for source, sink in ((client, server), (server, client)):
                Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                self._flowing.wait()
                sink.sendall(content)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
