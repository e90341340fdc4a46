"""A small receiver of deliveries for the demo: verifies each and appends it to a file of JSON lines."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from crm_integration import signatures

MAX_BYTES = 1024 * 1024


class DemoReceiver:
    """Listens on loopback until stopped. `port` 0 picks a free one; `secret` may be set later, before the first delivery."""

    def __init__(self, *, port: int = 0, secret: str = "", log: Path) -> None:
        self.secret = secret
        self._log = log
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True, name="demo-receiver")

    @property
    def pair(self) -> str:
        """host:port, as settings.OUTBOUND_ALLOW wants it."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.pair}/decisions"

    def start(self) -> DemoReceiver:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def received(self) -> list[dict[str, Any]]:
        """The deliveries whose signature was right, in the order they came: {"id", "received_at", "message"}."""
        if not self._log.exists():
            return []
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def take(self, headers: Any, body: bytes) -> int:
        """Verify and write down one delivery; returns the status to answer."""
        parts = signatures.SignedParts(
            message_id=headers.get("webhook-id", "").encode("latin-1"),
            timestamp=headers.get("webhook-timestamp", "").encode("latin-1"),
            signatures=headers.get("webhook-signature", "").encode("latin-1"),
        )
        try:
            signatures.verify(parts, body, secrets=[self.secret], now=int(time.time()))
            entry = {"id": parts.message_id.decode(), "received_at": time.time(), "message": json.loads(body)}
        except signatures.BadSignature:
            return 401
        except ValueError:
            return 400
        with self._lock, self._log.open("a") as lines:
            lines.write(json.dumps(entry) + "\n")
        return 204


def _handler(receiver: DemoReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MAX_BYTES:
                self.send_error(413)
                return
            status = receiver.take(self.headers, self.rfile.read(int(length)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: the file is the log."""

    return Handler
