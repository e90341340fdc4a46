from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta

import pytest

from crm_integration import addresses, http
from crm_integration.http import DeliveryError, Limits
from tests.crm_integration import fake_crm, servers

QUICK = Limits(connect=1, read=0.3, total=0.6)

# Every form of a private, reserved or translated address that Svix tests its own filter with, and more.
FORBIDDEN = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1", "192.0.0.1",
    "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00::1",
    "fe80::1", "fec0::1", "ff02::1",
]  # fmt: skip
ENCODED = [
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "0x7f.1",
    "localhost",
    "a.localhost",
    "[::]",
    "[::1]",
    "[::ffff:7f00:1]",
]


@pytest.fixture
def connections_made(monkeypatch):
    """Whatever the client tries to connect to; nothing is let through."""
    made = []

    def connect(self, address):
        made.append(address)
        raise OSError("closed in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return made


@pytest.fixture
def resolver(monkeypatch):
    """Answers of the name service, by name."""
    names = {}
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        if host not in names:
            return real(host, port, *args, **kwargs)
        answer = names[host]
        address = answer.pop(0) if isinstance(answer, list) else answer
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        tail = (0, 0) if family == socket.AF_INET6 else ()
        return [(family, socket.SOCK_STREAM, 6, "", (address, port, *tail))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


def post(url, **options):
    return http.post(url, body=b"{}", headers={}, **options)


def bracketed(address):
    return f"[{address}]" if ":" in address else address


# --- where deliveries never go
@pytest.mark.parametrize("host", [bracketed(address) for address in FORBIDDEN] + ENCODED)
def test_a_private_address_is_refused_before_any_connection(host, connections_made):
    with pytest.raises(DeliveryError) as refused:
        post(f"https://{host}/hook")
    assert refused.value.permanent
    assert connections_made == []


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_name_that_resolves_to_a_private_address_is_refused(address, resolver, connections_made):
    resolver["crm.example.com"] = address
    with pytest.raises(DeliveryError) as refused:
        post("https://crm.example.com/hook")
    assert refused.value.permanent
    assert connections_made == []


def test_the_address_that_was_checked_is_the_one_connected_to(resolver, connections_made):
    resolver["crm.example.com"] = ["93.184.216.34", "127.0.0.1", "127.0.0.1"]
    with pytest.raises(DeliveryError):
        post("https://crm.example.com/hook")
    assert connections_made == [("93.184.216.34", 443)]


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/hook",
        "ftp://crm.example.com/hook",
        "file:///etc/passwd",
        "gopher://crm.example.com",
        "https://",
        "https:///hook",
        "crm.example.com/hook",
        "//crm.example.com/hook",
        "https://user:password@crm.example.com/",
        "https://crm.example.com:22/",
        "https://crm.example.com:99999/",
        "https://[::1/",
        "",
        "https://" + "a" * 300 + ".com/",
        "https://..example.com/",
        "https://exa mple.com/",
    ],
)
def test_an_address_that_is_not_plain_https_is_refused_for_good(url, connections_made, resolver):
    with pytest.raises(DeliveryError) as refused:
        post(url)
    assert refused.value.permanent
    assert connections_made == []


@pytest.mark.parametrize(
    "allowed",
    [[], ["127.0.0.1"], ["127.0.0.1:1"], ["localhost:{port}"], [":{port}"], ["*:{port}"], ["127.0.0.1:x"]],
)
def test_only_the_exact_pair_is_allowed(allowed, crm, settings):
    settings.OUTBOUND_ALLOW = [entry.format(port=crm.server.server_port) for entry in allowed]
    with pytest.raises(DeliveryError) as refused:
        post(crm.url)
    assert refused.value.permanent
    assert crm.requests == []


def test_without_encryption_only_this_machine_is_allowed(settings, connections_made):
    settings.OUTBOUND_ALLOW = ["10.0.0.5:8080"]
    with pytest.raises(DeliveryError) as refused:
        post("http://10.0.0.5:8080/")
    assert refused.value.permanent
    assert connections_made == []


def test_an_allowed_private_address_may_be_reached_with_encryption(settings, connections_made):
    settings.OUTBOUND_ALLOW = ["10.0.0.5:8080"]
    with pytest.raises(DeliveryError) as failed:
        post("https://10.0.0.5:8080/")
    assert not failed.value.permanent
    assert connections_made == [("10.0.0.5", 8080)]


def test_proxies_of_the_environment_are_not_used(crm, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(crm.url).status == 200


@pytest.mark.parametrize(
    "location", ["{other}", "http://127.0.0.1:1/", "/again", "gopher://x", "http://[", "//"]
)
def test_a_redirect_is_an_answer_and_is_not_followed(crm, location):
    crm.answers = [(302, {"Location": location.format(other=crm.url)}, b"x" * 10)]
    assert post(crm.url).status == 302
    assert len(crm.requests) == 1


# --- what comes back
def test_the_body_and_headers_arrive_as_given(crm):
    answer = http.post(crm.url, body=b'{"a": "\xc3\xa4"}', headers={"webhook-id": "m-1"})
    headers, body = crm.requests[0]
    assert (answer.status, answer.is_success) == (200, True)
    assert body == b'{"a": "\xc3\xa4"}'
    assert (headers["webhook-id"], headers["User-Agent"]) == ("m-1", http.USER_AGENT)


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_any_status_is_an_answer(crm, status):
    crm.answers = [(status, {}, b"no")]
    answer = post(crm.url)
    assert (answer.status, answer.is_success, answer.body) == (status, False, b"no")


def test_no_more_than_64_kib_of_an_endless_reply_are_read(crm):
    crm.answers = [fake_crm.endless]
    answer = post(crm.url)
    assert answer.status == 500
    assert len(answer.body) == http.MAX_ANSWER_BYTES


def test_a_compressed_reply_is_not_unpacked(crm):
    import gzip

    bomb = gzip.compress(b"0" * 10_000_000)
    crm.answers = [(500, {"Content-Encoding": "gzip"}, bomb)]
    assert post(crm.url).body == bomb[: http.MAX_ANSWER_BYTES]


@pytest.mark.parametrize("behaviour", [fake_crm.hang, fake_crm.drip_head, fake_crm.hang_up])
def test_a_receiver_that_does_not_answer_is_a_failure_to_try_again(crm, behaviour):
    crm.answers = [behaviour]
    with pytest.raises(DeliveryError) as failed:
        post(crm.url, limits=QUICK)
    assert not failed.value.permanent


def test_a_status_counts_although_its_body_never_ends(crm):
    crm.answers = [fake_crm.drip_body]
    assert post(crm.url, limits=QUICK).is_success


def test_a_closed_port_is_a_failure_to_try_again(settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings.OUTBOUND_ALLOW = [f"127.0.0.1:{port}"]
    with pytest.raises(DeliveryError) as failed:
        post(f"http://127.0.0.1:{port}/")
    assert not failed.value.permanent


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("999999999999", 7 * 24 * 3600),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
    ],
)
def test_retry_after_in_seconds_is_understood(crm, header, seconds):
    crm.answers = [(429, {"Retry-After": header}, b"")]
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert post(crm.url).retry_after == expected


def test_retry_after_as_a_date_is_understood():
    now = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
    assert http._retry_after("Sun, 01 Nov 2026 10:02:00 GMT", now) == timedelta(minutes=2)
    assert http._retry_after("Sun, 01 Nov 2026 09:00:00 GMT", now) is None


@pytest.mark.parametrize(
    "header", ["1 Jan 99999999999 00:00:00 GMT", "Sun, 01 Nov 2026 10:00:00 +99999999999999999999"]
)
def test_a_retry_after_out_of_all_bounds_is_no_error(header):
    assert http._retry_after(header) is None


def test_public_addresses_pass_the_first_check():
    endpoint = addresses.check("https://CRM.Example.com/hook?x=1")
    assert (endpoint.scheme, endpoint.host, endpoint.port) == ("https", "crm.example.com", 443)


# --- several requests over one line
class Keeping:
    """Answers as `answers` say and keeps connections; `lines` has the requests of each."""

    def __init__(self):
        self.lines: list[list[dict]] = []
        self.hang_up_after = 99


def _keeping_handler(fake):
    class Handler(servers.QuietHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            self.seen = []
            fake.lines.append(self.seen)

        def do_POST(self):
            self.body()
            self.seen.append(dict(self.headers))
            if len(self.seen) > fake.hang_up_after:
                self.close_connection = True  # without an answer, as if it had closed in between
                return
            self.reply(200, {"Set-Cookie": "who=you; Path=/"}, b"x" * 10)

    return Handler


class KeepingServer(servers.Served, Keeping):
    pass


@pytest.fixture
def keeping(settings):
    fake = KeepingServer()
    with servers.running(fake, _keeping_handler(fake)):
        settings.OUTBOUND_ALLOW = [fake.pair]
        yield fake


def test_requests_in_a_block_share_a_line_and_nothing_else(keeping):
    with http.kept_alive():
        assert [post(keeping.root).status for _ in range(3)] == [200, 200, 200]
    assert [len(line) for line in keeping.lines] == [3]
    assert not any("Cookie" in headers for headers in keeping.lines[0])


def test_without_the_block_each_request_has_a_line_of_its_own(keeping):
    post(keeping.root)
    post(keeping.root)
    assert [len(line) for line in keeping.lines] == [1, 1]


def test_a_line_that_was_hung_up_is_opened_again(keeping):
    keeping.hang_up_after = 2
    with http.kept_alive():
        assert [post(keeping.root).status for _ in range(4)] == [200] * 4
    assert [len(line) for line in keeping.lines] == [3, 2]


def test_each_request_over_a_kept_line_is_checked(keeping, settings):
    with http.kept_alive():
        post(keeping.root)
        settings.OUTBOUND_ALLOW = []
        with pytest.raises(DeliveryError) as refused:
            post(keeping.root)
    assert refused.value.permanent
    assert sum(map(len, keeping.lines)) == 1


def test_an_answer_that_is_not_read_to_its_end_ends_its_line(keeping, monkeypatch):
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 4)
    with http.kept_alive():
        assert [post(keeping.root).body for _ in range(2)] == [b"xxxx", b"xxxx"]
    assert [len(line) for line in keeping.lines] == [1, 1]


def test_each_request_over_a_kept_line_has_its_own_deadline(crm):
    crm.answers = [fake_crm.drip_head, (200, {}, b"")]
    with http.kept_alive():
        with pytest.raises(DeliveryError):
            post(crm.url, limits=QUICK)
        assert post(crm.url, limits=QUICK).status == 200
