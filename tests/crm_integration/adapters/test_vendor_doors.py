"""Every vendor's door passes the same cases, and the ones that its own traps ask for."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from crm_integration import connections, inbox
from crm_integration.connections import Door
from crm_integration.models import InboundMessage, RefusedDelivery
from segmentation.kinds import EventKind
from segmentation.models import Customer, DueCustomer, Event
from tests.crm_integration import fixtures
from tests.crm_integration.adapters import signing
from tests.crm_integration.adapters.cases import DoorCases
from tests.crm_integration.adapters.signing import content, payload

ORDER = json.dumps(fixtures.order()).encode()


class VendorDoor(DoorCases):
    kind = ""
    options: dict = {}
    body_name = ""

    @pytest.fixture
    def connection(self, db):
        return fixtures.connection(adapter=self.kind, options=self.options)

    def good_body(self):
        return payload(self.body_name)

    def process(self, client, connection, *args, **kwargs):
        answer = self.post(client, connection, *args, **kwargs)
        assert answer.status_code == 202, answer.content
        inbox.process(answer.json()["id"])
        return InboundMessage.objects.get(pk=answer.json()["id"])


class TestShopifyDoor(VendorDoor):
    kind, body_name, signs_time = "shopify", "shopify/orders_paid", False
    signature_header = "x-shopify-hmac-sha256"

    def headers(self, secret, body, *, at=None, message_id="wh-1", topic="orders/paid"):
        return signing.shopify(secret, body, topic=topic, webhook_id=message_id)

    def test_the_newer_header_names_count_first(self, client, connection):
        headers = self.headers(connection.inbound_secret, self.good_body())
        newer = {name.removeprefix("x-"): value for name, value in headers.items()}
        assert self.post(client, connection, headers=newer).status_code == 202
        both = {**headers, "shopify-hmac-sha256": "AAAA"}
        assert self.post(client, connection, headers=both).status_code == 401

    def test_a_replay_under_a_changed_id_adds_no_fact_and_rescores_nobody(self, client, connection):
        self.process(client, connection)
        DueCustomer.objects.all().delete()
        again = self.process(client, connection, message_id="another", topic="orders/create")
        assert again.outcome == "nothing_new"
        assert Event.objects.count() == 1
        assert not DueCustomer.objects.exists()

    def test_a_replayed_order_under_a_privacy_topic_asks_for_nothing(self, client, connection):
        from segmentation.models import Alert

        message = self.process(client, connection, topic="shop/redact")
        assert message.outcome == "rejected"
        assert not Alert.objects.exists()

    def test_a_topic_that_is_not_read_is_kept_and_counted(self, client, connection):
        message = self.process(client, connection, topic="products/update")
        assert (message.outcome, message.topic) == ("unknown_topic", "products/update")
        assert message.body is not None


class TestWooCommerceDoor(VendorDoor):
    kind, body_name, signs_time = "woocommerce", "woocommerce/order_processing", False
    signature_header = "x-wc-webhook-signature"

    def headers(self, secret, body, *, at=None, message_id="d-1", topic="order.updated"):
        return signing.woocommerce(secret, body, topic=topic, delivery_id=message_id)

    def test_the_first_ping_gets_exactly_200_and_leaves_nothing_behind(self, client, connection):
        answer = client.post(
            f"/hooks/{connection.slug}/",
            data=b"webhook_id=3",
            content_type="application/x-www-form-urlencoded",
        )
        assert answer.status_code == 200
        assert not InboundMessage.objects.exists()
        assert not RefusedDelivery.objects.exists()

    @pytest.mark.parametrize("body", [b"webhook_id=", b"webhook_id=3&x=1", b"webhook_id=3\n", b"id=3"])
    def test_nothing_else_unsigned_passes_for_a_ping(self, client, connection, body):
        self.assert_denied(self.post(client, connection, body, headers={}), connection, "missing_headers")

    def test_two_events_of_one_second_share_a_delivery_id_and_are_both_kept(self, client, connection):
        other = json.dumps({**content(self.body_name), "id": 900}).encode()
        for body in (self.good_body(), other):
            assert self.post(client, connection, body).json()["status"] == "accepted"
        assert InboundMessage.objects.count() == 2

    def test_a_replay_under_another_delivery_id_is_a_duplicate(self, client, connection):
        self.post(client, connection)
        assert self.post(client, connection, message_id="another").json()["status"] == "duplicate"


class TestHubSpotDoor(VendorDoor):
    kind, body_name = "hubspot", "hubspot/contacts_changed"
    signature_header = "x-hubspot-signature-v3"

    def headers(self, secret, body, *, at=None, message_id=""):
        return signing.hubspot(secret, body, url="http://127.0.0.1:8000/hooks/shop/", at=at)

    def test_a_retry_counts_its_attempts_and_is_still_a_duplicate(self, client, connection):
        self.post(client, connection)
        again = [{**entry, "attemptNumber": 1} for entry in content(self.body_name)]
        assert self.post(client, connection, json.dumps(again).encode()).json()["status"] == "duplicate"
        assert not RefusedDelivery.objects.exists()

    def test_the_same_event_id_at_another_time_is_another_event(self, client, connection):
        self.post(client, connection)
        other = [{**entry, "occurredAt": entry["occurredAt"] + 1} for entry in content(self.body_name)]
        assert self.post(client, connection, json.dumps(other).encode()).json()["status"] == "accepted"

    def test_the_oldest_signature_never_opens_the_door(self, client, connection):
        headers = self.headers(connection.inbound_secret, self.good_body())
        del headers["x-hubspot-signature-v3"]
        self.assert_denied(self.post(client, connection, headers=headers), connection, "missing_headers")

    def test_the_public_address_is_what_was_signed(self, client, settings):
        settings.SITE_URL = "https://tierwise.example.com"
        row = fixtures.connection(adapter="hubspot")
        headers = signing.hubspot(
            row.inbound_secret, self.good_body(), url="https://tierwise.example.com/hooks/shop/"
        )
        assert self.post(client, row, headers=headers).status_code == 202

    def test_without_credentials_a_message_waits_to_be_processed_again(self, client, connection):
        message = self.process(client, connection)
        assert message.state == "failed"
        assert "No API credentials" in message.error


class TestStripeDoor(VendorDoor):
    kind, body_name = "stripe", "stripe/charge_succeeded"
    signature_header = "stripe-signature"

    def headers(self, secret, body, *, at=None, message_id=""):
        return signing.stripe(secret, body, at=at)

    def test_one_of_several_signatures_is_enough(self, client, connection):
        header = self.headers(connection.inbound_secret, self.good_body())["stripe-signature"]
        stamp, signed = header.split(",")
        for order in (f"{stamp},v1=00,{signed}", f"{stamp},{signed},v0=11"):
            assert self.post(client, connection, headers={"stripe-signature": order}).status_code == 202

    @pytest.mark.parametrize(
        "change", ["t=1,{header}", "{header},t=1", "v1=00", "t=,v1=00", "t=abc,v1=00", ",,,"]
    )
    def test_a_header_with_no_time_or_two_is_refused(self, client, connection, change):
        header = self.headers(connection.inbound_secret, self.good_body())["stripe-signature"]
        answer = self.post(client, connection, headers={"stripe-signature": change.format(header=header)})
        assert answer.status_code == 401

    def test_a_retry_with_fewer_waiting_webhooks_is_the_same_event(self, client, connection):
        self.post(client, connection)
        again = {**content(self.body_name), "pending_webhooks": 0}
        assert self.post(client, connection, json.dumps(again).encode()).json()["status"] == "duplicate"
        assert not RefusedDelivery.objects.exists()


class TestMauticDoor(VendorDoor):
    kind, body_name, signs_time = "mautic", "mautic/contact_updated", False
    signature_header = "webhook-signature"

    def headers(self, secret, body, *, at=None, message_id=""):
        return signing.mautic(secret, body)


class TestSegmentDoor(VendorDoor):
    kind, body_name, signs_time = "segment", "segment/order_completed", False
    signature_header = "x-segment-signature"

    def headers(self, secret, body, *, at=None, message_id=""):
        return signing.segment(secret, body)

    def test_the_older_header_opens_the_door_for_a_single_event(self, client, connection):
        headers = {
            "x-signature": signing.segment(connection.inbound_secret, self.good_body())["x-segment-signature"]
        }
        assert self.post(client, connection, headers=headers).status_code == 202

    def test_a_batch_whose_first_event_alone_is_signed_is_refused(self, client, connection):
        first = json.dumps(content("segment/batch")["batch"][0], separators=(",", ":")).encode()
        headers = {"x-signature": signing.segment(connection.inbound_secret, first)["x-segment-signature"]}
        answer = self.post(client, connection, payload("segment/batch"), headers=headers)
        self.assert_denied(answer, connection, "wrong_signature")

    def test_the_same_message_id_again_is_a_duplicate(self, client, connection):
        self.post(client, connection)
        again = {**content(self.body_name), "sentAt": "2026-11-01T11:00:00Z"}
        assert self.post(client, connection, json.dumps(again).encode()).json()["status"] == "duplicate"


class TestSvixDoor(VendorDoor):
    kind = "svix"
    signature_header = "svix-signature"

    def good_body(self):
        return ORDER

    def headers(self, secret, body, *, at=None, message_id="msg_1"):
        return signing.svix(secret, body, at=at, message_id=message_id)


class TestEspoCrmDoor(VendorDoor):
    kind, body_name, signs_time = "espocrm", "espocrm/contacts", False
    # The webhook's id stands before the signature and is not signed.
    signature_header = None

    def headers(self, secret, body, *, at=None, message_id=""):
        return signing.espocrm(secret, body)

    @pytest.mark.parametrize("header", ["", "x", "====", "é", "NjUwMQ==", "NjUwMTo="])
    def test_a_header_of_another_shape_is_refused(self, client, connection, header):
        answer = self.post(client, connection, headers={"signature": header})
        assert answer.status_code == 401
        assert not InboundMessage.objects.exists()

    def test_one_connection_takes_the_messages_of_several_webhooks(self, client, connection):
        connections.set_secret(connection, Door.INBOUND, secret="contact-secret  opportunity-secret")
        for secret, name in (("contact-secret", "contacts"), ("opportunity-secret", "opportunity")):
            body = payload(f"espocrm/{name}")
            assert self.process(client, connection, body, headers=self.headers(secret, body)).state == "done"
        order = Event.objects.get(kind=EventKind.ORDER_PLACED)
        assert order.customer.reference == "shop-espocrm:5f1a"

    @pytest.mark.parametrize("secret", ["contact-secret opportunity-secret", "contact-secre", "third-secret"])
    def test_what_is_none_of_the_several_secrets_opens_nothing(self, client, connection, secret):
        connections.set_secret(connection, Door.INBOUND, secret="contact-secret opportunity-secret")
        answer = self.post(client, connection, headers=self.headers(secret, self.good_body()))
        self.assert_denied(answer, connection, "wrong_signature")


class TestHmacDoor(VendorDoor):
    """Time and id signed, as a careful sender does it."""

    kind = "hmac"
    options = {
        "header": "X-Signature",
        "algorithm": "sha512",
        "encoding": "base64",
        "prefix": "v0=",
        "base": "{id}.{timestamp}:{body}",
        "timestamp_header": "X-Time",
        "id_header": "X-Id",
        "tolerance": 300,
    }
    signature_header = "x-signature"

    def good_body(self):
        return ORDER

    def headers(self, secret, body, *, at=None, message_id="m-1"):
        stamp = signing.seconds(at)
        signed = f"{message_id}.{stamp}:".encode() + body
        mac = signing.digest(secret, signed, algorithm="sha512")
        return {"x-signature": "v0=" + signing.base64_of(mac), "x-time": str(stamp), "x-id": message_id}

    def test_a_time_in_milliseconds_is_understood(self, client, connection):
        stamp = signing.seconds(None) * 1000
        signed = f"m-1.{stamp}:".encode() + self.good_body()
        mac = signing.digest(connection.inbound_secret, signed, algorithm="sha512")
        headers = {"x-signature": "v0=" + signing.base64_of(mac), "x-time": str(stamp), "x-id": "m-1"}
        assert self.post(client, connection, headers=headers).status_code == 202

    def test_a_connection_that_is_not_set_up_refuses_everything(self, client, connection):
        headers = self.headers(connection.inbound_secret, self.good_body())
        type(connection).objects.update(options={})
        self.assert_denied(self.post(client, connection, headers=headers), connection, "kind_not_set_up")


class TestPlainHmacDoor(VendorDoor):
    """Nothing signed but the body, in hex."""

    kind, signs_time = "hmac", False
    options = {
        "header": "X-Hub-Signature",
        "algorithm": "sha1",
        "encoding": "hex",
        "prefix": "sha1=",
        "base": "{body}",
    }
    signature_header = "x-hub-signature"

    def good_body(self):
        return ORDER

    def headers(self, secret, body, *, at=None, message_id=""):
        mac = signing.digest(secret, body, algorithm="sha1")
        return {"x-hub-signature": "sha1=" + mac.hexdigest()}


@pytest.mark.django_db
def test_a_new_secret_fits_the_kind_and_a_dictated_one_is_checked_by_it():
    from crm_integration.connections import Door
    from crm_integration.signatures import InvalidSecret

    row = fixtures.connection(adapter="stripe", url="https://crm.example.com/")
    assert connections.set_secret(row, Door.INBOUND, secret="whsec_abcdefgh") == "whsec_abcdefgh"
    assert connections.set_secret(row, Door.OUTBOUND).startswith("whsec_")
    for bad in ("short", "with space inside", "x" * 257, "ümlaut-secret"):
        with pytest.raises(InvalidSecret):
            connections.set_secret(row, Door.INBOUND, secret=bad)
    with pytest.raises(InvalidSecret):
        connections.set_secret(row, Door.OUTBOUND, secret="whsec_abcdefgh")
    assert not Customer.objects.exists()
    assert timezone.now() < row.previous_secret_until
