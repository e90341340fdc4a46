"""What the outside world knows, on disk before it goes on: messages that were accepted, deliveries that arrived."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from tests.chaos.door import Answer


class Journal:
    """Lines of JSON, each on disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, Lock()
        self._file = path.open("a")

    def write(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def read(self) -> Iterator[dict[str, Any]]:
        with self._path.open() as lines:
            yield from map(json.loads, lines)

    def since(self, place: int) -> Iterator[dict[str, Any]]:
        """What was written after `place` (see `size`)."""
        with self._path.open() as lines:
            lines.seek(place)
            yield from map(json.loads, lines)

    @property
    def size(self) -> int:
        return self._path.stat().st_size

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Order:
    """A fact that the shop tells: one order of one customer. Told twice, it is still one order."""

    message_id: str
    order: str
    customer: str
    minor: int
    at: str


class Shop:
    """The sender: signs by the published scheme (not by the product's code), retries until accepted, then journals.

    answers: everything it was told, in order.
    """

    def __init__(self, url: str, secret: str, journal: Journal) -> None:
        self._url, self.secret, self._journal = url, secret, journal
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self.answers: list[Answer] = []

    def tell(self, order: Order, *, patience: float = 240.0) -> None:
        """Post until the product answers 2xx, as a shop does; only then it counts as accepted."""
        deadline = time.monotonic() + patience
        while not self._ask(order).is_accepted:
            assert time.monotonic() < deadline, f"{order.message_id} was not accepted in {patience:.0f} s"
            time.sleep(0.25)
        self._journal.write({**asdict(order), "accepted": time.time()})

    def _ask(self, order: Order) -> Answer:
        asked = time.monotonic()
        status, may_return = self._post(order)
        self.answers.append(Answer(status, time.monotonic() - asked, may_return))
        return self.answers[-1]

    def _post(self, order: Order) -> tuple[int, bool]:
        """Status, 0 where nobody answered, and whether it says when to come back."""
        body = json.dumps(_envelope(order)).encode()
        now = str(int(time.time()))
        signed = f"{order.message_id}.{now}.".encode() + body
        signature = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()
        request = urllib.request.Request(self._url, data=body, method="POST", headers={
            "Content-Type": "application/json", "webhook-id": order.message_id,
            "webhook-timestamp": now, "webhook-signature": f"v1,{signature}",
        })  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, False
        except urllib.error.HTTPError as error:
            if error.code not in {429, 500, 502, 503, 504}:
                raise AssertionError(f"{order.message_id} was refused with {error.code}") from error
            return error.code, "Retry-After" in error.headers
        except OSError:
            return 0, False


def _envelope(order: Order) -> dict[str, Any]:
    amount = f"{order.minor / 100:.2f}"
    data = {"order_id": order.order, "customer": order.customer, "amount": amount}
    return {"type": "order.placed", "timestamp": order.at, "data": data}


class Receiver:
    """The other end of the line: journals each delivery, then answers after `pause` seconds."""

    def __init__(self, journal: Journal, *, pause: float = 0.01) -> None:
        self.journal, self.pause = journal, pause
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.pair = f"127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, message_id: str, body: bytes) -> None:
        content = json.loads(body)
        data = content["data"]
        told = {"decision": data["decision_id"], "customer": data["customer"]["reference"]}
        self.journal.write({"id": message_id, "topic": content["type"], **told})
        time.sleep(self.pause)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            receiver.take(self.headers["webhook-id"], self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: the journal is the log."""

    return Handler
