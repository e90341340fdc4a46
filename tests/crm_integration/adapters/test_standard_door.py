from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_integration import inbox
from crm_integration.models import InboundMessage, RefusedDelivery
from tests.crm_integration.adapters.cases import DoorCases
from tests.crm_integration.fixtures import deliver, order, signed_headers

BODY = json.dumps(order()).encode()
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


class TestStandardDoor(DoorCases):
    signature_header = "webhook-signature"

    def good_body(self):
        return BODY

    def headers(self, secret, body, *, at=None, message_id="msg_1"):
        return signed_headers(secret, body, at=at, message_id=message_id)

    def test_the_same_body_under_another_id_is_another_message(self, client, connection):
        for message_id in ("a", "b"):
            assert self.post(client, connection, message_id=message_id).json()["status"] == "accepted"

    def test_another_body_under_a_known_id_is_dropped_and_counted(self, client, connection):
        self.post(client, connection)
        answer = self.post(client, connection, json.dumps(order("o-2")).encode())
        assert (answer.status_code, answer.json()["status"]) == (202, "duplicate")
        assert RefusedDelivery.objects.get().reason == "id_reused_with_another_body"

    def test_the_same_id_at_another_connection_is_another_message(self, client, connection):
        from tests.crm_integration import fixtures

        for row in (connection, fixtures.connection("second")):
            assert deliver(client, row, order()).json()["status"] == "accepted"
        assert InboundMessage.objects.count() == 2

    @pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    def test_each_header_is_needed(self, client, connection, header):
        headers = self.headers(connection.inbound_secret, BODY)
        del headers[header]
        self.assert_denied(self.post(client, connection, headers=headers), connection, "missing_headers")

    def test_a_signature_over_another_id_or_time_is_refused(self, client, connection):
        headers = self.headers(connection.inbound_secret, BODY)
        for header, value in (
            ("webhook-id", "msg_2"),
            ("webhook-timestamp", str(int(headers["webhook-timestamp"]) + 1)),
        ):
            assert self.post(client, connection, headers={**headers, header: value}).status_code == 401
        assert not InboundMessage.objects.exists()

    def test_header_names_may_be_written_in_any_case(self, client, connection):
        headers = {
            name.upper(): value for name, value in self.headers(connection.inbound_secret, BODY).items()
        }
        assert self.post(client, connection, headers=headers).status_code == 202

    def test_refusals_of_a_day_are_one_row_a_reason_with_bounded_header_names(self, client, connection):
        many = {f"x-{number:03d}-{'n' * 100}": "secret value" for number in range(100)}
        for _round in range(3):
            self.post(client, connection, headers=many)
        refused = RefusedDelivery.objects.get()
        assert refused.count == 3
        assert len(refused.header_names) <= 40
        assert max(map(len, refused.header_names)) <= 64
        assert "secret value" not in json.dumps(refused.header_names)

    def test_a_refusal_tells_the_sender_nothing_about_which_check_failed(self, client, connection):
        wrong = {**self.headers(connection.inbound_secret, BODY), "webhook-signature": "v1,AAAA"}
        stale = {**wrong, "webhook-timestamp": "1"}
        answers = {self.post(client, connection, headers=headers).content for headers in (wrong, stale, {})}
        assert len(answers) == 1

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        message_id=st.text(st.characters(max_codepoint=255), max_size=30),
        timestamp=st.one_of(
            st.integers(0, 2**40).map(str), st.text(st.characters(max_codepoint=255), max_size=12)
        ),
        signature=st.text(st.characters(max_codepoint=255), max_size=80).map("v1,".__add__),
        body=st.binary(max_size=60),
    )
    def test_no_shape_of_forgery_opens_anything(
        self, client, connection, message_id, timestamp, signature, body
    ):
        headers = {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
        assert self.post(client, connection, body, headers=headers).status_code == 401
        assert not InboundMessage.objects.exists()

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        data=JSON_VALUES,
        topic=st.sampled_from(
            ["order.placed", "customer.updated", "review.created", "events.batch", "consent.changed"]
        ),
    )
    def test_signed_nonsense_in_known_topics_never_breaks_the_worker(self, client, connection, data, topic):
        InboundMessage.objects.all().delete()
        body = json.dumps({"type": topic, "timestamp": "2026-11-01T10:00:00Z", "data": data}).encode()
        answer = self.post(client, connection, body)
        assert answer.status_code == 202
        inbox.process(answer.json()["id"])
        message = InboundMessage.objects.get()
        assert message.outcome in {"unreadable", "rejected", "nothing_new"}, (message.outcome, message.error)
