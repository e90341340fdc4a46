"""The door keeps what it knows of a connection, and no change of the connection is overlooked for that."""

from __future__ import annotations

import io
import json

import pytest
from django.db import IntegrityError, OperationalError
from django.utils import timezone

from config.wsgi import doors as application
from crm_integration import connections, inbox, receiving, storing
from crm_integration.connections import Door
from crm_integration.models import Connection, InboundMessage, RefusedDelivery
from crm_integration.wsgi import webhooks_first
from tests.crm_integration import fixtures

pytestmark = pytest.mark.django_db
BODY = json.dumps(fixtures.order()).encode()


class Chunks(io.BytesIO):
    """A body whose length nobody told; it counts how much of it was asked for."""

    asked = 0

    def read(self, most=-1):
        self.asked += most
        return super().read(most)


def send(path="/hooks/shop/", body=BODY, headers=None, *, method="POST", stream=None, **environ):
    """(status, content, headers), as the web server is told."""
    said = []
    told = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()}
    request = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
        "wsgi.input": stream or io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), **told, **environ,
    }  # fmt: skip
    answer = application(request, lambda status, headers, *error: said.append((status, dict(headers))))
    content = b"".join(answer)
    [(status, answered)] = said
    return int(status.split()[0]), json.loads(content) if content[:1] == b"{" else content, answered


def signed(row, message_id="msg_1", **options):
    return fixtures.signed_headers(row.inbound_secret, BODY, message_id=message_id, **options)


@pytest.fixture
def known(connection):
    """A connection that the process knows already."""
    assert send(headers=signed(connection, "first"))[0] == 202
    return connection


def test_a_message_of_a_known_connection_is_one_statement(known, django_assert_num_queries):
    with django_assert_num_queries(1):
        status, content, headers = send(headers=signed(known))
    assert (status, content["status"]) == (202, "accepted")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert InboundMessage.objects.get(pk=content["id"]).dedupe_key == "msg_1"


def test_every_column_of_a_stored_message_is_as_the_model_makes_it(known):
    made = InboundMessage.objects.create(connection=known, dedupe_key="made", body=b"", body_sha256="")
    stored = InboundMessage.objects.get(dedupe_key="first")
    differ = {"id", "dedupe_key", "body", "body_sha256", "headers", "received_at", "created_at", "run_after"}
    made.refresh_from_db()
    for field in InboundMessage._meta.concrete_fields:
        if field.name not in differ:
            assert getattr(stored, field.attname) == getattr(made, field.attname), field.name


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"accepts_inbound": False}, {"adapter": "gone"}, {"slug": "moved"}]
)
def test_a_connection_that_stopped_receiving_is_not_found_at_once(known, change):
    Connection.objects.filter(pk=known.pk).update(**change)
    assert send(headers=signed(known))[0] == 404
    assert InboundMessage.objects.count() == 1


def test_a_secret_that_was_taken_away_opens_nothing_any_more(known):
    headers = signed(known)
    Connection.objects.filter(pk=known.pk).update(inbound_secret="")
    assert send(headers=headers)[0] == 401
    assert RefusedDelivery.objects.get().reason == "no_secret_set"


def test_a_secret_in_its_grace_that_is_dropped_opens_nothing_any_more(known):
    headers = [signed(known, f"old-{number}") for number in range(2)]
    connections.set_secret(known, Door.INBOUND)
    assert send(headers=headers[0])[0] == 202
    connections.end_grace(known, Door.INBOUND)
    assert send(headers=headers[1])[0] == 401


def test_a_new_secret_is_known_at_once(known):
    connections.set_secret(known, Door.INBOUND)
    assert send(headers=signed(known))[0] == 202


def test_how_messages_are_verified_may_change_at_any_time(known):
    headers = signed(known)
    Connection.objects.filter(pk=known.pk).update(
        adapter="hmac",
        options={"header": "X-Sign", "algorithm": "sha256", "encoding": "hex", "base": "{body}"},
    )
    assert send(headers=headers)[0] == 401
    assert InboundMessage.objects.count() == 1


def test_another_connection_under_the_same_name_is_another(known):
    headers = signed(known)
    InboundMessage.objects.all().delete()
    known.delete()
    stranger = fixtures.connection()
    assert send(headers=headers)[0] == 401
    assert send(headers=signed(stranger))[0] == 202
    assert InboundMessage.objects.get().connection == stranger


def test_names_that_nobody_has_are_not_kept():
    for number in range(3):
        assert send(f"/hooks/nobody-{number}/", headers={"webhook-id": "x"})[0] == 404
    assert not [name for name in receiving._kept if name.startswith("nobody")]


def test_only_so_many_connections_are_kept(connection, monkeypatch):
    monkeypatch.setattr(receiving, "KEPT", 2)
    for slug in ("a", "b", "c"):
        assert send(f"/hooks/{slug}/", headers=signed(fixtures.connection(slug)))[0] == 202
    assert len(receiving._kept) <= 2


def test_a_body_in_chunks_is_read_to_its_end_and_no_further_than_the_cap(known, settings):
    headers = {**signed(known), "transfer-encoding": "chunked"}
    assert send(headers=headers, stream=Chunks(BODY), CONTENT_LENGTH="")[0] == 202
    settings.INBOUND_MAX_BYTES = 100
    endless = Chunks(b"x" * 10_000)
    assert send(headers=headers, stream=endless, CONTENT_LENGTH="")[0] == 413
    assert endless.asked == 101


def test_a_body_shorter_than_its_length_is_a_bad_request(known):
    assert send(headers=signed(known), CONTENT_LENGTH=str(len(BODY) + 1))[0] == 400


def test_only_what_is_told_of_a_body_is_read(known):
    stream = Chunks(BODY + b"another request")
    assert send(headers=signed(known), stream=stream)[0] == 202
    assert stream.asked == len(BODY)


class Away:
    """A database that fails so many times, and whose link is then found broken or well."""

    in_atomic_block, connection = False, object()

    def __init__(self, failures, is_usable):
        self.left, self.usable, self.real, self.asked = failures, is_usable, storing.store_once, 0

    def store_once(self, *args, **options):
        self.asked += 1
        self.left -= 1
        if self.left >= 0:
            raise OperationalError("the link is gone")
        return self.real(*args, **options)

    def is_usable(self):
        return self.usable

    def close(self):
        pass


@pytest.mark.parametrize(
    ("failures", "is_usable", "asked", "status"), [(1, False, 2, 202), (2, False, 2, 503), (1, True, 1, 503)]
)
def test_a_broken_link_is_replaced_once_and_a_database_in_trouble_asks_for_patience(
    monkeypatch, known, failures, is_usable, asked, status
):
    away = Away(failures, is_usable)
    monkeypatch.setattr("crm_integration.storing.store_once", away.store_once)
    monkeypatch.setattr("crm_integration.webhook_door.database", away)
    answer, content, headers = send(headers=signed(known))
    assert (answer, away.asked) == (status, asked)
    assert status == 202 or (content, headers["Retry-After"]) == ({"error": "unavailable"}, "5")


def test_an_accident_is_an_answer_without_details(known, monkeypatch):
    monkeypatch.setattr(receiving, "kept", lambda slug: 1 / 0)
    assert send(headers=signed(known))[:2] == (500, {"error": "server_error"})


def test_without_encryption_nothing_is_taken_where_encryption_is_demanded(known, settings):
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    application = webhooks_first(lambda environ, start_response: start_response("301 Elsewhere", []) or [])
    environ = {
        "PATH_INFO": "/hooks/shop/",
        "REQUEST_METHOD": "GET",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    for proto, wanted in (("http", "301"), ("https", "405")):
        said = []
        list(
            application(
                {**environ, "HTTP_X_FORWARDED_PROTO": proto},
                lambda status, _h, said=said: said.append(status),
            )
        )
        assert said[0].startswith(wanted)


def test_every_other_address_is_left_to_the_rest():
    assert send("/healthz", method="GET")[:2] == (200, b"ok")
    assert send("/hooks/", method="GET")[0] == 404
    assert send("/hooks/a/b/", method="GET")[0] == 404


def test_the_kept_secret_ends_with_its_grace(known):
    headers = [signed(known, f"old-{number}") for number in range(2)]
    connections.set_secret(known, Door.INBOUND)
    assert send(headers=headers[0])[0] == 202
    Connection.objects.update(previous_secret_until=timezone.now())
    assert send(headers=headers[1])[0] == 401


def test_a_connection_that_is_deleted_meanwhile_is_no_server_error(client, connection, monkeypatch):
    def gone(*args, **kwargs):
        raise IntegrityError("foreign key")

    monkeypatch.setattr(inbox, "store", gone)
    answer = fixtures.deliver(client, connection, {"type": "ping"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
