"""Deliveries that are lured to this machine: a canary listens where they must never come, and counts who does."""

from __future__ import annotations

import _socket
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from unittest.mock import patch

from django.test import override_settings

from crm_integration import http
from crm_integration.http import DeliveryError, Limits
from tests.crm_integration import fake_crm
from tests.crm_integration.test_http import ENCODED, FORBIDDEN, bracketed

# A port that deliveries may go to: else they would be refused for the port, and nothing would be shown.
PORT = 8443
PUBLIC = "93.184.216.34"
QUICK = Limits(connect=0.5, read=0.5, total=1)


@dataclass
class Result:
    tried: dict[str, int] = field(default_factory=dict)
    sung: list[str] = field(default_factory=list)  # lures after which somebody stood before the canary
    elsewhere: list[str] = field(default_factory=list)  # other addresses than the public one that were tried
    control: int = 0  # it sings when the operator allows the address

    @property
    def is_good(self) -> bool:
        return not self.sung and not self.elsewhere and self.control > 0


class Canary:
    """Listens at every address of this machine, in IPv4 and IPv6."""

    def __init__(self, port: int = PORT) -> None:
        self.visits = 0
        self._listening = [
            socket.create_server(("", port)),
            socket.create_server(("::", port), family=socket.AF_INET6),
        ]
        for one in self._listening:
            Thread(target=self._listen, args=(one,), daemon=True).start()

    def _listen(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                visitor, _address = listening.accept()
                self.visits += 1
                visitor.close()

    def close(self) -> None:
        for one in self._listening:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@dataclass
class World:
    """The network as deliveries see it: names answer as told, and only this machine can be reached."""

    names: dict[str, list[str]] = field(default_factory=dict)
    reached: list[str] = field(default_factory=list)

    @contextmanager
    def around(self) -> Iterator[World]:
        resolve = socket.getaddrinfo

        def getaddrinfo(host, port, *args, **kwargs):
            if host not in self.names:
                return resolve(host, port, *args, **kwargs)
            answers = self.names[host]
            address = answers.pop(0) if len(answers) > 1 else answers[0]
            is_six = ":" in address
            family, tail = (socket.AF_INET6, (0, 0)) if is_six else (socket.AF_INET, ())
            return [(family, socket.SOCK_STREAM, 6, "", (address, port, *tail))]

        def only_here(this, address):
            host = str(address[0])
            self.reached.append(host)
            if not is_here(host):
                raise OSError("not from here")
            return _socket.socket.connect(this, address)

        with patch("socket.getaddrinfo", getaddrinfo), patch("socket.socket.connect", only_here):
            yield self


def is_here(host: str) -> bool:
    """Whether a connection to it comes to this machine and no further."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        inside = getattr(address, "ipv4_mapped", None) or address
        return inside.is_loopback or inside.is_unspecified
    return False


def run() -> Result:
    result, canary = Result(), Canary()
    try:
        with ExitStack() as stack:
            world = stack.enter_context(World().around())
            stack.enter_context(override_settings(OUTBOUND_ALLOW=[]))
            for name, url, names, environment in lures():
                world.names, world.reached = names, []
                before = canary.visits
                with patch.dict(os.environ, environment):
                    _deliver(url)
                kind = name.split(":")[0]
                result.tried[kind] = result.tried.get(kind, 0) + 1
                if canary.visits > before:
                    result.sung.append(f"{name}: {url}")
                result.elsewhere += [f"{name}: {url} → {host}" for host in world.reached if host != PUBLIC]
            _redirects(world, canary, result)
            with override_settings(OUTBOUND_ALLOW=[f"127.0.0.1:{PORT}"]):
                before = canary.visits
                _deliver(f"https://127.0.0.1:{PORT}/")
                result.control = canary.visits - before
    finally:
        canary.close()
    return result


def lures() -> Iterator[tuple[str, str, dict[str, list[str]], dict[str, str]]]:
    """What it is, an address, what names answer, and the environment."""
    for host in [*map(bracketed, FORBIDDEN), *ENCODED]:
        yield f"literal: {host}", f"https://{host}:{PORT}/", {}, {}
    for address in FORBIDDEN:
        yield f"name: {address}", f"https://crm.example.com:{PORT}/", {"crm.example.com": [address]}, {}
        flips = {"crm.example.com": [PUBLIC, address]}
        yield f"rebinding: {address}", f"https://crm.example.com:{PORT}/", flips, {}
    for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        told = {proxy: f"http://127.0.0.1:{PORT}"}
        yield f"proxy: {proxy}", f"https://crm.example.com:{PORT}/", {"crm.example.com": [PUBLIC]}, told
    for url in (
        f"https://user@127.0.0.1:{PORT}/", f"https://crm.example.com:{PORT}@127.0.0.1:{PORT}/",
        f"https://127.0.0.1:{PORT}#@crm.example.com/", f"https://127.0.0.1:{PORT}\\@crm.example.com/",
        f"http://127.0.0.1:{PORT}/", f"https://127.0.0.1.:{PORT}/", f"https://①②⑦.⓪.⓪.①:{PORT}/",
        f"https://[::ffff:127.0.0.1%25lo]:{PORT}/", f"https://LOCALHOST:{PORT}/",
    ):  # fmt: skip
        yield f"disguise: {url}", url, {"crm.example.com": [PUBLIC]}, {}


def _redirects(world: World, canary: Canary, result: Result) -> None:
    """A receiver that the operator allowed sends the delivery on to where nobody allowed it."""
    with fake_crm.running() as crm, override_settings(OUTBOUND_ALLOW=[crm.pair]):
        for status in (301, 302, 303, 307, 308):
            world.names, before = {}, canary.visits
            crm.answers = [(status, {"Location": f"https://127.0.0.1:{PORT}/"}, b"")]
            _deliver(crm.url)
            result.tried["redirect"] = result.tried.get("redirect", 0) + 1
            if canary.visits > before:
                result.sung.append(f"redirect: {status}")


def _deliver(url: str) -> None:
    with suppress(DeliveryError):
        http.post(url, body=b"{}", headers={}, limits=QUICK)
