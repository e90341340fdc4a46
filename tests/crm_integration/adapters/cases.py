"""The cases that every adapter's door must pass. A test class per adapter inherits them and says how it signs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_integration import connections
from crm_integration.connections import Door
from crm_integration.models import InboundMessage, OutboundMessage, RefusedDelivery
from segmentation.jobs import Job
from segmentation.models import Customer, DueCustomer, Event

pytestmark = pytest.mark.django_db
FORGERIES = 200


def _flipped(target, data):
    bit = data.draw(st.integers(0, len(target) * 8 - 1))
    forged = bytearray(target)
    forged[bit // 8] ^= 1 << (bit % 8)
    return bytes(forged)


@pytest.mark.django_db
class DoorCases:
    """A subclass gives: a `connection` fixture, `good_body()`, `headers(secret, body, *, at, message_id)`."""

    signs_time = True
    # The header whose every bit counts; None where part of it is not signed.
    signature_header = None

    def good_body(self) -> bytes:
        raise NotImplementedError

    def headers(self, secret, body, *, at=None, message_id="msg_1"):
        raise NotImplementedError

    # --- helpers
    def post(
        self, client, connection, body=None, *, headers=None, content_type="application/json", **signing
    ):
        raw = self.good_body() if body is None else body
        signed = self.headers(connection.inbound_secret, raw, **signing) if headers is None else headers
        return client.post(f"/hooks/{connection.slug}/", data=raw, content_type=content_type, headers=signed)

    def assert_denied(self, answer, connection, reason, *, status=401):
        """Refused, and nothing in the database but one more in the count of its reason."""
        assert answer.status_code == status
        for model in (InboundMessage, OutboundMessage, Customer, Event, DueCustomer):
            assert not model.objects.exists(), model
        refused = RefusedDelivery.objects.get()
        assert (refused.connection, refused.reason, refused.count) == (connection, reason, 1)

    # --- accepted
    def test_a_good_delivery_is_stored_byte_for_byte_and_answered_202(
        self, client, connection, nudges, django_capture_on_commit_callbacks
    ):
        with django_capture_on_commit_callbacks(execute=True):
            answer = self.post(client, connection)
        message = InboundMessage.objects.get()
        assert (answer.status_code, answer.json()) == (202, {"id": message.pk, "status": "accepted"})
        assert bytes(message.body) == self.good_body()
        assert nudges == [(Job.PROCESS_INBOUND, {})]

    def test_the_same_delivery_again_is_a_duplicate_and_adds_nothing(self, client, connection):
        first = self.post(client, connection).json()
        answer = self.post(client, connection)
        assert (answer.status_code, answer.json()) == (202, {"id": first["id"], "status": "duplicate"})
        assert InboundMessage.objects.count() == 1

    def test_a_retry_signed_anew_is_still_a_duplicate(self, client, connection):
        self.post(client, connection, at=timezone.now() - timedelta(seconds=120))
        assert self.post(client, connection).json()["status"] == "duplicate"

    @pytest.mark.parametrize(
        "content_type",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "nonsense",
            "",
        ],
    )
    def test_the_content_type_changes_nothing(self, client, connection, content_type):
        assert self.post(client, connection, content_type=content_type).status_code == 202

    def test_the_old_secret_is_accepted_for_a_day_after_a_rotation(self, client, connection):
        old = connection.inbound_secret
        new = connections.set_secret(connection, Door.INBOUND)
        body = self.good_body()
        assert (
            self.post(client, connection, headers=self.headers(old, body, message_id="a")).status_code == 202
        )
        assert (
            self.post(client, connection, headers=self.headers(new, body, message_id="b")).status_code == 202
        )

    # --- refused
    def test_the_old_secret_is_refused_when_its_grace_is_over(self, client, connection):
        old = connection.inbound_secret
        connections.set_secret(connection, Door.INBOUND)
        type(connection).objects.update(previous_secret_until=timezone.now() - timedelta(seconds=1))
        answer = self.post(client, connection, headers=self.headers(old, self.good_body()))
        self.assert_denied(answer, connection, "wrong_signature")

    def test_a_leaked_old_secret_can_be_dropped_at_once(self, client, connection):
        old = connection.inbound_secret
        connections.set_secret(connection, Door.INBOUND)
        connections.end_grace(connection, Door.INBOUND)
        answer = self.post(client, connection, headers=self.headers(old, self.good_body()))
        self.assert_denied(answer, connection, "wrong_signature")

    def test_another_connections_secret_is_refused(self, client, connection):
        stranger = type(connection).objects.create(slug="stranger", name="Stranger")
        connections.set_secret(stranger, Door.INBOUND)
        answer = self.post(
            client, connection, headers=self.headers(stranger.inbound_secret, self.good_body())
        )
        self.assert_denied(answer, connection, "wrong_signature")

    @pytest.mark.parametrize("position", range(0, 160, 13))
    def test_a_body_with_one_flipped_bit_is_refused(self, client, connection, position):
        body = self.good_body()
        forged = bytearray(body)
        forged[(position // 8) % len(body)] ^= 1 << (position % 8)
        answer = self.post(
            client, connection, bytes(forged), headers=self.headers(connection.inbound_secret, body)
        )
        self.assert_denied(answer, connection, "wrong_signature")

    @settings(
        max_examples=FORGERIES,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(data=st.data())
    def test_no_flipped_bit_and_no_shortened_body_or_signature_passes(self, client, connection, data):
        body = self.good_body()
        headers = self.headers(connection.inbound_secret, body)
        places = ["flip body", "cut body"] + (["flip header", "cut header"] if self.signature_header else [])
        place = data.draw(st.sampled_from(places))
        target = body if "body" in place else headers[self.signature_header].encode("latin-1")
        forged = (
            _flipped(target, data)
            if "flip" in place
            else target[: data.draw(st.integers(0, len(target) - 1))]
        )
        if "body" in place:
            body = forged
        else:
            headers = {**headers, self.signature_header: forged.decode("latin-1")}
        assert self.post(client, connection, body, headers=headers).status_code == 401
        assert not InboundMessage.objects.exists()

    def test_a_delivery_without_headers_is_refused(self, client, connection):
        answer = self.post(client, connection, headers={})
        self.assert_denied(answer, connection, "missing_headers")

    def test_without_a_secret_on_our_side_everything_is_refused(self, client, connection):
        headers = self.headers(connection.inbound_secret, self.good_body())
        type(connection).objects.update(inbound_secret="")
        self.assert_denied(self.post(client, connection, headers=headers), connection, "no_secret_set")

    @pytest.mark.parametrize(
        ("away", "reason"), [(-301, "timestamp_too_old"), (330, "timestamp_in_the_future")]
    )
    def test_a_stale_or_future_delivery_is_refused(self, client, connection, away, reason):
        if not self.signs_time:
            pytest.skip("this CRM signs no time")
        answer = self.post(client, connection, at=timezone.now() + timedelta(seconds=away))
        self.assert_denied(answer, connection, reason)

    def test_a_duplicated_signature_header_is_refused(self, client, connection):
        headers = self.headers(connection.inbound_secret, self.good_body())
        doubled = {name: f"{value},{value}" for name, value in headers.items()}
        answer = self.post(client, connection, headers=doubled)
        assert answer.status_code == 401
        assert not InboundMessage.objects.exists()

    def test_a_body_over_the_cap_is_refused_and_not_kept(self, client, connection, settings):
        settings.INBOUND_MAX_BYTES = 200
        answer = self.post(client, connection, b"x" * 201)
        self.assert_denied(answer, connection, "too_large", status=413)

    @pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head", "options"])
    def test_only_post_is_answered(self, client, connection, method):
        answer = getattr(client, method)(f"/hooks/{connection.slug}/")
        assert (answer.status_code, answer["Allow"]) == (405, "POST")
        assert not InboundMessage.objects.exists()

    @pytest.mark.parametrize(
        "change", [{"is_active": False}, {"accepts_inbound": False}, {"adapter": "gone"}, {"slug": "moved"}]
    )
    def test_a_connection_that_does_not_receive_is_not_found(self, client, connection, change):
        headers = self.headers(connection.inbound_secret, self.good_body())
        type(connection).objects.filter(pk=connection.pk).update(**change)
        answer = self.post(client, connection, headers=headers)
        assert answer.status_code == 404
        assert not InboundMessage.objects.exists()

    # --- hostile, but validly signed
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"not json",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"type": "order.placed", "data": {"order_id": "a\\u0000b"}}',
            b'{"type": "\\ud800"}',
            b'{"type": ' + b"9" * 5000 + b"}",
            b'{"type": 1e200000}',
            b'{"type": NaN, "data": Infinity}',
            b"\xff\xfe\x00{}",
            b'{"type": null}',
            b"[]",
            b'"text"',
            b"null",
            b"\x00" * 100,
            b'{"type": "' + b"x" * 5000 + b'"}',
        ],
        ids=lambda body: repr(body[:24]),
    )
    def test_a_signed_body_that_makes_no_sense_is_kept_quarantined_and_harmless(
        self, client, connection, body
    ):
        from crm_integration import inbox

        answer = self.post(client, connection, body)
        assert answer.status_code == 202
        inbox.process(answer.json()["id"])
        message = InboundMessage.objects.get()
        assert bytes(message.body) == body
        assert message.state in {"failed", "done"}
        assert message.outcome in {"unreadable", "rejected", "unknown_topic"}
        assert message.outcome != "unreadable" or message.error
        assert not Event.objects.exists()
