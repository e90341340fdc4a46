"""Where deliveries may go: public https addresses, and exact host:port pairs that the operator allowed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext_lazy as _

PUBLIC_PORTS = frozenset({443, 8443})
DEFAULT_PORTS = {"https": 443, "http": 80}
# Forms of private addresses that requests-hardened lets through: IPv4 inside IPv6 without the mapped prefix,
# and the site-local range that RFC 3879 retired.
FURTHER_BLOCKED = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("fec0::/10"))


class AddressRefused(Exception):
    """Deliveries must not go there; the message is a sentence for staff."""


@dataclass(frozen=True)
class Endpoint:
    scheme: str
    host: str
    port: int

    @property
    def is_allowed_by_operator(self) -> bool:
        return (self.host, self.port) in operator_allowed()

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether this name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def operator_allowed() -> frozenset[tuple[str, int]]:
    """The pairs of settings.OUTBOUND_ALLOW. An entry that is not host:port allows nothing."""
    pairs = set()
    for entry in settings.OUTBOUND_ALLOW:
        host, _colon, port = entry.strip().rpartition(":")
        if host and port.isascii() and port.isdigit():
            pairs.add((host.strip("[]").lower(), int(port)))
    return frozenset(pairs)


def check(url: str) -> Endpoint:
    """The endpoint of a delivery address; raises AddressRefused for what can be told without resolving the name."""
    endpoint = _endpoint(url)
    if endpoint.is_allowed_by_operator:
        if endpoint.scheme == "https" or endpoint.is_loopback:
            return endpoint
        raise AddressRefused(
            _("Without encryption only an address of this machine may be used; write https://.")
        )
    if endpoint.scheme != "https":
        raise AddressRefused(_("The address must start with https://."))
    if endpoint.port not in PUBLIC_PORTS:
        raise AddressRefused(
            _("Port %(port)s is not open for deliveries; use 443 or 8443, or add %(pair)s to OUTBOUND_ALLOW.")
            % {"port": endpoint.port, "pair": f"{endpoint.host}:{endpoint.port}"}
        )
    if _is_private_literal(endpoint.host):
        raise private_address(endpoint)
    return endpoint


def check_resolved(address: str, endpoint: Endpoint) -> None:
    """Raise AddressRefused when the address that a name resolved to is not a public one."""
    ip = ipaddress.ip_address(address.strip("[]"))
    if not ip.is_global or ip.is_multicast or _is_blocked(ip):
        raise private_address(endpoint)


def private_address(endpoint: Endpoint) -> AddressRefused:
    return AddressRefused(
        _("%(host)s is a private or reserved address. If it is meant, add %(pair)s to OUTBOUND_ALLOW.")
        % {"host": endpoint.host, "pair": f"{endpoint.host}:{endpoint.port}"}
    )


def _endpoint(url: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError as error:
        raise AddressRefused(_("This is not a web address.")) from error
    if scheme not in DEFAULT_PORTS or not host:
        raise AddressRefused(_("This is not a web address; it must start with https:// and name a host."))
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(_("Leave the user name and password out of the address."))
    return Endpoint(scheme, host.lower(), port or DEFAULT_PORTS[scheme])


def _is_private_literal(host: str) -> bool:
    """True for a host that is itself a forbidden IP address; names are judged once resolved."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return not ip.is_global or ip.is_multicast or _is_blocked(ip)


def _is_blocked(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return ip.version == 6 and any(ip in network for network in FURTHER_BLOCKED)
