"""A TCP proxy that can cut, refuse, stall and swallow: the network between the product and its broker."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock, Thread

RESET = struct.pack(
    "ii", 1, 0
)  # SO_LINGER with no time: the other side sees a reset, as from a killed server


@dataclass(eq=False)
class Line:
    """One connection: the product's end, the server's end, and whether what is said on it is lost."""

    client: socket.socket
    server: socket.socket
    swallows: bool = False

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

    def restore(self) -> None:
        self._is_up = True
        self._flowing.set()

    def close(self) -> None:
        self.cut()
        self._flowing.set()
        self._server.close()

    def _reset_all(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, set()
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
        with suppress(OSError):
            while content := source.recv(65536):
                self._flowing.wait()
                if not line.swallows:
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
