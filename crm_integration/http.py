"""The only outbound HTTP client: no redirects, no proxies, addresses checked after one resolution and pinned."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3
from django.utils.translation import gettext as _
from requests.adapters import HTTPAdapter
from requests_hardened import Config, HTTPSession
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

from crm_integration import addresses

MAX_ANSWER_BYTES = 64 * 1024
# A page of records that we asked for; what is longer is refused, since half a page would look like a whole one.
MAX_PAGE_BYTES = 16 * 1024 * 1024
USER_AGENT = "Tierwise/1"


@dataclass(frozen=True)
class Limits:
    """Seconds: to connect, between two pieces of the answer, and in all."""

    connect: float = 3
    read: float = 15
    total: float = 20


@dataclass(frozen=True)
class Answer:
    """What the other side said; header names are lower-case. The body of a delivery's answer is cut at 64 KiB."""

    status: int
    body: bytes
    retry_after: timedelta | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class DeliveryError(Exception):
    """No (usable) answer. `permanent`: trying again cannot help until someone changes the connection.

    `retry_after`: how long the other side asked us to wait.
    """

    def __init__(
        self, message: str, *, permanent: bool = False, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after


def post(url: str, *, body: bytes, headers: Mapping[str, str], limits: Limits = Limits()) -> Answer:
    """POST once and return the answer, whatever its status. Raises DeliveryError when there is none.

    Call it outside of any transaction: it may take `limits.total` seconds.
    """
    return _send("POST", url, body=body, headers=headers, limits=limits, most=MAX_ANSWER_BYTES, whole=False)


def fetch(
    url: str,
    *,
    headers: Mapping[str, str],
    method: str = "GET",
    body: bytes | None = None,
    limits: Limits = Limits(total=60),
) -> Answer:
    """Ask for records, once, and return the whole answer, whatever its status. Raises DeliveryError.

    The same guards as `post`; an answer that breaks off or exceeds MAX_PAGE_BYTES is a DeliveryError.
    """
    return _send(method, url, body=body, headers=headers, limits=limits, most=MAX_PAGE_BYTES, whole=True)


def _send(
    method: str,
    url: str,
    *,
    body: bytes | None,
    headers: Mapping[str, str],
    limits: Limits,
    most: int,
    whole: bool,
) -> Answer:
    try:
        addresses.check(url)
    except addresses.AddressRefused as refusal:
        raise DeliveryError(str(refusal), permanent=True) from refusal
    with _line() as line, line.deadline.within(limits.total):
        try:
            with closing(
                line.request(
                    method,
                    url,
                    data=body,
                    headers={**headers, "Accept-Encoding": "identity"},
                    timeout=(limits.connect, limits.read),
                    stream=True,
                )
            ) as response:
                return _whole_answer(response, line.deadline, most) if whole else _answer(response, most)
        except requests.RequestException as error:
            raise _explained(error, limits=limits, ran_out=line.deadline.has_passed) from error
        except (UnicodeError, urllib3.exceptions.LocationParseError) as error:
            raise DeliveryError(_("The host name in the address is not valid."), permanent=True) from error


@contextmanager
def kept_alive() -> Iterator[None]:
    """Requests in this block and thread share connections. Each still has its address resolved, checked and pinned."""
    line = _Line()
    token = _shared.set(line)
    try:
        yield
    finally:
        _shared.reset(token)
        line.close()


@contextmanager
def _line() -> Iterator[_Line]:
    shared = _shared.get()
    if shared is not None:
        yield shared
        return
    with closing(_Line()) as line:
        yield line


def _answer(response: requests.Response, most: int) -> Answer:
    body = b""
    # The status decides; an answer that breaks off half-way has still been given.
    with suppress(urllib3.exceptions.HTTPError, OSError, ValueError):
        body = response.raw.read(most, decode_content=False) or b""
    return _told(response, body)


def _whole_answer(response: requests.Response, deadline: _Deadline, most: int) -> Answer:
    try:
        body = response.raw.read(most + 1, decode_content=False) or b""
        missing = response.raw.length_remaining
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise DeliveryError(_("The answer broke off.")) from error
    if len(body) > most:
        raise DeliveryError(_("The answer is larger than this installation takes."))
    if deadline.has_passed or missing:
        raise DeliveryError(_("The answer broke off."))
    return _told(response, body)


def _told(response: requests.Response, body: bytes) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, body, _retry_after(headers.get("retry-after", "")), headers)


def _explained(error: requests.RequestException, *, limits: Limits, ran_out: bool) -> DeliveryError:
    if isinstance(error, InvalidIPAddress):
        return DeliveryError(
            _("The host resolves to a private or reserved address (%(ip)s); deliveries do not go there.")
            % {"ip": error},
            permanent=True,
        )
    if ran_out:
        return DeliveryError(_("No complete answer within %(seconds)s seconds.") % {"seconds": limits.total})
    if isinstance(error, requests.ConnectTimeout):
        return DeliveryError(_("No connection within %(seconds)s seconds.") % {"seconds": limits.connect})
    if isinstance(error, requests.Timeout):
        return DeliveryError(_("No answer within %(seconds)s seconds.") % {"seconds": limits.read})
    if isinstance(error, requests.exceptions.SSLError):
        return DeliveryError(_("The certificate of the receiver could not be verified."))
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return DeliveryError(_("This is not a web address."), permanent=True)
    return DeliveryError(
        _("The receiver could not be reached (%(error)s).") % {"error": type(error).__name__}
    )


def _retry_after(value: str, now: datetime | None = None) -> timedelta | None:
    """Seconds or an HTTP date (RFC 9110, 10.2.3); None when absent, unreadable or in the past."""
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:9]), 7 * 24 * 3600))
    try:
        moment = parsedate_to_datetime(value)
        wait = moment.replace(tzinfo=moment.tzinfo or UTC) - (now or datetime.now(UTC))
    except (ValueError, OverflowError):
        return None
    return wait if wait > timedelta(0) else None


class _Deadline:
    """Cuts the connections when one exchange takes too long: timeouts alone let a receiver drip for hours."""

    def __init__(self) -> None:
        self.has_passed = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._exchange: object = None

    def watch(self, connected: socket.socket) -> None:
        self._sockets = [one for one in self._sockets if one.fileno() >= 0] + [connected]
        if self.has_passed:
            self._cut()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        exchange = object()
        self.has_passed, self._exchange = False, exchange
        timer = threading.Timer(seconds, self._pass, (exchange,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                self._exchange = None

    def _pass(self, exchange: object) -> None:
        with self._lock:
            if exchange is self._exchange:
                self.has_passed = True
                self._cut()

    def _cut(self) -> None:
        for connected in self._sockets:
            with suppress(OSError):
                # Not SSLSocket.shutdown, which would take the TLS state away from the thread that is reading.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)


class _Line:
    """One session and its deadline, for one request or for several after each other."""

    def __init__(self) -> None:
        self.deadline = _Deadline()
        self._session = _Session(_GuardedAdapter(self.deadline))
        self._has_served = False

    def request(self, method: str, url: str, **given: Any) -> requests.Response:
        """The head of the answer. Raises requests.RequestException."""
        try:
            response = self._session.request(method, url, **given)
        except requests.ConnectionError as error:
            # The other side may hang up a connection that was kept just when it is used again.
            if not self._has_served or self.deadline.has_passed or isinstance(error, requests.Timeout):
                raise
            self._has_served = False
            response = self._session.request(method, url, **given)
        if self.deadline.has_passed:
            # The head broke off when the connection was cut; http.client takes what there was for the whole.
            response.close()
            raise requests.Timeout
        self._has_served = True
        return response

    def close(self) -> None:
        self._session.close()


_shared: ContextVar[_Line | None] = ContextVar("kept_alive", default=None)


class _Session(HTTPSession):
    def __init__(self, adapter: HTTPAdapter) -> None:
        super().__init__(
            Config(
                ip_filter_enable=False,
                ip_filter_allow_loopback_ips=False,
                never_redirect=True,
                default_timeout=(Limits.connect, Limits.read),
                user_agent_override=USER_AGENT,
            )
        )
        # Proxies and .netrc of the environment would carry the message somewhere that was never checked.
        self.trust_env = False
        # What a receiver says is not carried into the next delivery.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.adapters.clear()
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: even when redirects are off, requests would read the whole body of one to prepare the next request."""
        return None


class _GuardedAdapter(IPFilterAdapter):
    """Decides on the host and port that are really connected to, not on a second reading of the address."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__(is_https_proto=True)
        self._deadline = deadline

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        endpoint = _checked(request.url or "")
        if endpoint.is_allowed_by_operator:
            unfiltered: Any = HTTPAdapter.build_connection_pool_key_attributes(self, request, verify, cert)
            return unfiltered
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        try:
            addresses.check_resolved(host["host"], endpoint)
        except addresses.AddressRefused as refusal:
            raise InvalidIPAddress(host["host"]) from refusal
        return host, pool

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        new_connection = pool.ConnectionCls
        if getattr(new_connection, "is_watched", False):
            return pool

        def watched(*args: Any, **kwargs: Any) -> Any:
            connection = new_connection(*args, **kwargs)
            connect = connection.connect

            def connect_and_watch() -> None:
                connect()
                self._deadline.watch(connection.sock)

            connection.connect = connect_and_watch
            return connection

        watched.is_watched = True  # type: ignore[attr-defined]
        pool.ConnectionCls = watched
        return pool


def _checked(url: str) -> addresses.Endpoint:
    try:
        return addresses.check(url)
    except addresses.AddressRefused as refusal:
        raise InvalidIPAddress(str(refusal)) from refusal
