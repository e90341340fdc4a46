from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from crm_integration import connections, inbox, outbox, signatures
from crm_integration.adapters import registry
from crm_integration.models import (
    Connection,
    InboundMessage,
    OutboundMessage,
    Reconciliation,
    RefusedDelivery,
)
from segmentation.jobs import Job
from segmentation.models import AuditEntry, Customer
from tests.crm_integration import fixtures
from tests.crm_integration.fixtures import decided, decision, deliver, envelope, order

pytestmark = pytest.mark.django_db
# Session, user, shop, and what the page itself needs. A higher number means a query crept in.
SENT_LIST = 6
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{20,}")


@pytest.fixture
def person(client, django_user_model):
    """Signed in as staff without any permission; `grant` adds some."""
    user = django_user_model.objects.create_user("ada", is_staff=True)
    client.force_login(user)
    return user


def grant(user, *codenames):
    user.user_permissions.add(
        *Permission.objects.filter(content_type__app_label="crm_integration", codename__in=codenames)
    )


def page(name, *args):
    return reverse(f"admin:crm_integration_{name}", args=args)


def html(answer):
    return answer.content.decode()


# --- connections
def test_a_new_connection_shows_its_address_and_secrets_once(admin_client, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1:9000"]
    answer = admin_client.post(
        page("connection_add"),
        {
            "name": "Shop",
            "slug": "shop",
            "adapter": "standard",
            "is_active": "on",
            "accepts_inbound": "on",
            "sends_outbound": "on",
            "outbound_url": "http://127.0.0.1:9000/hook",
        },
    )
    row = Connection.objects.get()
    text = html(answer)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert {row.inbound_secret, row.outbound_secret} == set(SECRET.findall(text))
    assert "/hooks/shop/" in text
    for address in (page("connection_change", row.pk), page("connection_changelist")):
        assert not SECRET.search(html(admin_client.get(address)))


def test_the_page_of_a_connection_tells_how_it_is_doing(admin_client, client, connection):
    deliver(client, connection, order())
    client.post(f"/hooks/{connection.slug}/", data=b"{}", content_type="text/plain", headers={"x-odd": "1"})
    text = html(admin_client.get(page("connection_change", connection.pk)))
    assert "http://127.0.0.1:8000/hooks/shop/" in text
    assert "another header that this kind needs is missing" in text
    assert "x-odd" in text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://crm.example.com/", "https://"),
        ("https://127.0.0.1/", "private or reserved"),
        ("https://crm.example.com:22/", "Port 22"),
        ("", "Say where"),
    ],
)
def test_an_address_that_may_not_be_delivered_to_is_refused_in_the_form(admin_client, url, says):
    answer = admin_client.post(
        page("connection_add"),
        {
            "name": "Shop",
            "slug": "shop",
            "adapter": "standard",
            "is_active": "on",
            "sends_outbound": "on",
            "outbound_url": url,
        },
    )
    assert answer.status_code == 200
    assert says in html(answer)
    assert not Connection.objects.exists()


def test_replacing_a_secret_shows_the_new_one_once_and_keeps_the_old_for_a_day(admin_client, connection):
    old = connection.inbound_secret
    answer = admin_client.post(page("connection_secret", connection.pk, "inbound"))
    connection.refresh_from_db()
    assert SECRET.findall(html(answer)) == [connection.inbound_secret]
    assert connection.inbound_secret != old
    assert connection.inbound_secret_previous == old
    admin_client.post(page("connection_drop_secret", connection.pk, "inbound"))
    connection.refresh_from_db()
    assert (connection.inbound_secret_previous, connection.previous_secret_until) == ("", None)


def test_a_secret_of_the_other_side_is_taken_and_not_repeated(admin_client, connection):
    dictated = signatures.generate_secret()
    answer = admin_client.post(
        page("connection_secret", connection.pk, "inbound"), {"secret": dictated}, follow=True
    )
    connection.refresh_from_db()
    assert connection.inbound_secret == dictated
    assert dictated not in html(answer)
    answer = admin_client.post(
        page("connection_secret", connection.pk, "inbound"), {"secret": "password"}, follow=True
    )
    assert "whsec_ followed by" in html(answer)
    connection.refresh_from_db()
    assert connection.inbound_secret == dictated


def test_an_unknown_door_is_not_found(admin_client, connection):
    assert admin_client.post(page("connection_secret", connection.pk, "back")).status_code == 404


def test_a_test_delivery_is_staged(admin_client, nudges, django_capture_on_commit_callbacks):
    row = fixtures.connection(url="https://crm.example.com/")
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(page("connection_test", row.pk))
    message = OutboundMessage.objects.get()
    assert message.topic == "ping"
    assert (Job.DELIVER, {"message_id": message.pk}) in nudges


def test_a_silent_connection_is_not_tested(admin_client, connection):
    answer = admin_client.post(page("connection_test", connection.pk), follow=True)
    assert "does not send" in html(answer)
    assert not OutboundMessage.objects.exists()


def test_switching_deliveries_on_again_forgets_the_trouble(admin_client):
    row = fixtures.connection(url="https://crm.example.com/")
    connections.stop_sending(row, reason="gone")
    form = {
        "name": row.name,
        "adapter": "standard",
        "is_active": "on",
        "accepts_inbound": "on",
        "sends_outbound": "on",
        "outbound_url": row.outbound_url,
    }
    assert "gone" in html(admin_client.get(page("connection_change", row.pk)))
    answer = admin_client.post(page("connection_change", row.pk), form)
    assert answer.status_code == 302
    row.refresh_from_db()
    assert (row.sends_outbound, row.disabled_reason) == (True, "")


def test_what_is_switched_on_later_gets_the_secret_it_needs_shown_once(admin_client, connection):
    form = {
        "name": connection.name,
        "adapter": "standard",
        "is_active": "on",
        "accepts_inbound": "on",
        "sends_outbound": "on",
        "outbound_url": "https://crm.example.com/",
    }
    signing = connection.inbound_secret
    answer = admin_client.post(page("connection_change", connection.pk), form)
    connection.refresh_from_db()
    assert connection.outbound_secret.startswith("whsec_")
    assert connection.outbound_secret in html(answer)
    assert (connection.inbound_secret, signing in html(answer)) == (signing, False)
    assert admin_client.post(page("connection_change", connection.pk), form).status_code == 302


@pytest.mark.parametrize("button", ["connection_secret", "connection_drop_secret", "connection_test"])
def test_buttons_need_the_permission_and_a_post(client, person, connection, button):
    args = (connection.pk,) if button == "connection_test" else (connection.pk, "inbound")
    before = connection.inbound_secret
    grant(person, "view_connection")
    assert client.post(page(button, *args)).status_code == 403
    grant(person, "change_connection")
    client.force_login(type(person).objects.get())
    assert client.get(page(button, *args)).status_code == 405
    connection.refresh_from_db()
    assert connection.inbound_secret == before


# --- messages
@pytest.fixture
def received(client, connection):
    """A message with a customer's details, processed; and one that cannot be read."""
    deliver(
        client,
        connection,
        envelope("customer.updated", reference="c-1", email="ada@example.com"),
        message_id="good",
    )
    deliver(client, connection, b"nonsense", message_id="bad")
    for key in InboundMessage.objects.values_list("pk", flat=True):
        inbox.process(key)
    return {row.dedupe_key: row for row in InboundMessage.objects.all()}


def test_received_messages_are_listed_filtered_and_found(admin_client, received):
    everything = html(admin_client.get(page("inboundmessage_changelist")))
    assert "good" in everything
    assert "bad" in everything
    failed = html(admin_client.get(page("inboundmessage_changelist"), {"state": "failed"}))
    assert ">good<" not in failed
    found = admin_client.get(page("inboundmessage_changelist"), {"q": "good"}).context["cl"].queryset
    assert list(found) == [received["good"]]


def test_a_message_page_hides_personal_data_from_those_who_may_not_see_it(client, person, received):
    grant(person, "view_inboundmessage")
    address = page("inboundmessage_change", received["good"].pk)
    text = html(client.get(address))
    assert "customer.updated" in text
    assert "ada@example.com" not in text
    assert "•••" in text
    whole = page("inboundmessage_body", received["good"].pk)
    assert client.post(whole).status_code == 403
    grant(person, "view_message_body")
    client.force_login(type(person).objects.get())
    assert "ada@example.com" not in html(client.get(address))
    assert client.get(whole).status_code == 405
    assert not AuditEntry.objects.filter(action="message.body_read").exists()
    answer = client.post(whole)
    assert "ada@example.com" in html(answer)
    assert "no-store" in answer["Cache-Control"]
    entry = AuditEntry.objects.get(action="message.body_read")
    assert (entry.actor, entry.object_id) == (person, str(received["good"].pk))


def test_an_unreadable_message_shows_why_and_can_be_processed_again(
    admin_client, received, nudges, django_capture_on_commit_callbacks
):
    message = received["bad"]
    text = html(admin_client.get(page("inboundmessage_change", message.pk)))
    assert "not JSON" in text
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(page("inboundmessage_again", message.pk))
    message.refresh_from_db()
    assert message.state == "queued"
    assert nudges[-1] == (Job.PROCESS_INBOUND, {"message_id": message.pk})
    answer = admin_client.post(page("inboundmessage_again", message.pk), follow=True)
    assert "still waiting" in html(answer)


def test_replaying_needs_its_permission(client, person, received):
    grant(person, "view_inboundmessage")
    assert client.post(page("inboundmessage_again", received["bad"].pk)).status_code == 403
    form = {"action": "replay_selected", "_selected_action": [received["bad"].pk]}
    client.post(page("inboundmessage_changelist"), form)
    received["bad"].refresh_from_db()
    assert received["bad"].state == "failed"


def test_several_messages_are_processed_again_at_once(admin_client, received):
    form = {"action": "replay_selected", "_selected_action": [row.pk for row in received.values()]}
    answer = admin_client.post(page("inboundmessage_changelist"), form, follow=True)
    assert "2 messages are queued again" in html(answer)
    assert set(InboundMessage.objects.values_list("state", flat=True)) == {"queued"}


@pytest.fixture
def sent(crm):
    row = fixtures.connection("crm", url=crm.url)
    crm.answers = [(500, {}, b"broken"), (200, {}, b"")]
    outbox.stage(decided(decision("c-1"), decision("c-2")))
    for key in OutboundMessage.objects.order_by("pk").values_list("pk", flat=True):
        outbox.deliver(key)
    return row


def test_sent_messages_show_their_attempts_and_can_be_sent_again(admin_client, sent):
    listed = html(admin_client.get(page("outboundmessage_changelist")))
    assert "decision.made" in listed
    failing, done = OutboundMessage.objects.order_by("pk")
    assert "broken" in html(admin_client.get(page("outboundmessage_change", failing.pk)))
    admin_client.post(page("outboundmessage_again", done.pk))
    done.refresh_from_db()
    assert done.state == "queued"


def test_refused_deliveries_are_listed_with_their_reason(admin_client, client, connection):
    deliver(client, connection, order(), headers={})
    assert "is missing" in html(admin_client.get(page("refuseddelivery_changelist")))


@pytest.mark.parametrize("model", ["inboundmessage", "outboundmessage", "refuseddelivery"])
def test_messages_cannot_be_added_edited_or_deleted(admin_client, received, model):
    assert admin_client.get(page(f"{model}_add")).status_code == 403
    for row in (*InboundMessage.objects.all(), *RefusedDelivery.objects.all()):
        assert (
            admin_client.post(page(f"{row._meta.model_name}_delete", row.pk), {"post": "yes"}).status_code
            == 403
        )


@pytest.mark.parametrize("model", ["connection", "inboundmessage", "outboundmessage", "refuseddelivery"])
def test_lists_cost_the_same_whatever_they_hold(
    admin_client, client, django_assert_max_num_queries, model, sent
):
    first = fixtures.connection("first")
    for number in range(12):
        deliver(client, first, order(), message_id=f"m-{number}")
        deliver(client, fixtures.connection(f"shop-{number}"), order(), headers={})
    with django_assert_max_num_queries(12):
        admin_client.get(page(f"{model}_changelist"))


@pytest.mark.parametrize(
    "name",
    [
        "connection_changelist",
        "inboundmessage_changelist",
        "outboundmessage_changelist",
        "refuseddelivery_changelist",
    ],
)
def test_staff_without_the_permission_see_nothing(client, person, name):
    assert client.get(page(name)).status_code == 403


def test_the_list_of_sent_messages_costs_the_same_for_3_and_30(admin_client, connection):
    """A query a row crept in here once: the next attempt in the shop's time."""

    def add(start, count):
        for number in range(start, start + count):
            OutboundMessage.objects.create(
                connection=connection,
                message_id=f"m{number}",
                topic="decision",
                body=b"{}",
                customer=Customer.objects.create(reference=f"K{number}"),
            )

    def queries():
        with CaptureQueriesContext(database) as found:
            assert admin_client.get(page("outboundmessage_changelist")).status_code == 200
        return len(found)

    add(0, 3)
    queries()  # what the process keeps after its first page
    few = queries()
    add(3, 27)
    assert queries() == few <= SENT_LIST


# --- kinds
def kind_form(**fields):
    return {"name": "Shop", "slug": "web-shop", "is_active": "on", "accepts_inbound": "on", **fields}


def test_a_kind_whose_secret_the_vendor_makes_leads_to_its_steps(admin_client):
    answer = admin_client.post(page("connection_add"), kind_form(adapter="shopify"), follow=True)
    row = Connection.objects.get()
    text = html(answer)
    assert answer.redirect_chain[-1][0] == page("connection_change", row.pk)
    assert row.inbound_secret == ""
    for said in (
        "/hooks/web-shop/",
        "orders/updated",
        "customers/redact",
        "client secret",
        "Needs a secret",
        "Shop domain",
    ):
        assert said in text, said


def test_a_secret_that_is_made_here_is_shown_once_for_a_vendor_too(admin_client):
    answer = admin_client.post(page("connection_add"), kind_form(adapter="mautic"))
    row = Connection.objects.get()
    assert len(row.inbound_secret) == 64
    assert row.inbound_secret in html(answer)
    assert row.inbound_secret not in html(admin_client.get(page("connection_change", row.pk)))


def test_what_a_kind_needs_is_kept_and_credentials_are_never_shown(admin_client):
    row = fixtures.connection("web-shop", adapter="shopify")
    form = kind_form(
        adapter="shopify", need_shop_domain="my-shop.myshopify.com", need_access_token="shpat_very_secret"
    )
    assert admin_client.post(page("connection_change", row.pk), form).status_code == 302
    row.refresh_from_db()
    assert row.options == {"shop_domain": "my-shop.myshopify.com"}
    assert row.credentials == {"access_token": "shpat_very_secret"}
    text = html(admin_client.get(page("connection_change", row.pk)))
    assert "my-shop.myshopify.com" in text
    assert "shpat_very_secret" not in text
    assert "Leave this empty to keep it" in text
    admin_client.post(page("connection_change", row.pk), {**form, "need_access_token": ""})
    row.refresh_from_db()
    assert row.credentials == {"access_token": "shpat_very_secret"}
    entry = AuditEntry.objects.filter(action="connection.settings_changed").latest("pk")
    assert "shpat_very_secret" not in str(entry.detail)


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("shopify", {"need_shop_domain": ""}, "This field is required"),
        ("shopify", {"need_shop_domain": "shop.example.com"}, "does not look right"),
        ("shopify", {"need_shop_domain": "evil.com/.myshopify.com"}, "does not look right"),
        ("woocommerce", {"need_site": "http://shop.example.com"}, "https://"),
        ("woocommerce", {"need_site": "https://127.0.0.1/"}, "private or reserved"),
        ("hmac", {"need_base": "{timestamp}"}, "must hold {body} once"),
        ("hmac", {"need_base": "{body}{body}"}, "must hold {body} once"),
        ("hmac", {"need_base": "{body}{other}"}, "must hold {body} once"),
        ("hmac", {"need_base": "{timestamp}.{body}"}, "exactly when {timestamp} is signed"),
        ("hmac", {"need_id_header": "X-Id"}, "exactly when {id} is signed"),
        ("hmac", {"need_header": "X Signature"}, "does not look right"),
        ("hmac", {"need_algorithm": "md5"}, "not one of the available choices"),
        ("hmac", {"need_tolerance": "4000"}, "less than or equal to 3600"),
    ],
)
def test_what_a_kind_cannot_use_is_refused_in_the_form(admin_client, kind, fields, says):
    row = fixtures.connection("web-shop", adapter=kind)
    whole = {
        "shopify": {"need_shop_domain": "a.myshopify.com"},
        "woocommerce": {"need_site": "https://shop.example.com"},
        "hmac": {
            "need_header": "X-Sig",
            "need_algorithm": "sha256",
            "need_encoding": "hex",
            "need_base": "{body}",
        },
    }[kind]
    answer = admin_client.post(
        page("connection_change", row.pk), kind_form(adapter=kind, **{**whole, **fields})
    )
    assert answer.status_code == 200
    assert says in html(answer).replace("&#x27;", "'")
    row.refresh_from_db()
    assert row.options == {}


def test_an_hmac_connection_is_set_up_in_the_form_and_then_works(admin_client, client):
    import hashlib
    import hmac
    import json

    row = fixtures.connection("web-shop", adapter="hmac")
    form = kind_form(
        adapter="hmac",
        need_header="X-Signature",
        need_algorithm="sha256",
        need_encoding="hex",
        need_base="{timestamp}.{body}",
        need_timestamp_header="X-Time",
        need_tolerance="60",
    )
    assert admin_client.post(page("connection_change", row.pk), form).status_code == 302
    body, now = json.dumps(order()).encode(), int(timezone.now().timestamp())
    for stamp, status in ((now, 202), (now - 61, 401)):
        signed = hmac.new(
            row.inbound_secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256
        ).hexdigest()
        headers = {"x-signature": signed, "x-time": str(stamp)}
        assert deliver(client, row, body, headers=headers).status_code == status


def test_a_secret_is_judged_by_the_kinds_rule(admin_client):
    row = fixtures.connection("web-shop", adapter="hubspot")
    address = page("connection_secret", row.pk, "inbound")
    assert "8 to 256 characters" in html(admin_client.post(address, {"secret": "short"}, follow=True))
    admin_client.post(address, {"secret": "a-client-secret"})
    row.refresh_from_db()
    assert row.inbound_secret == "a-client-secret"


def test_the_page_says_what_the_last_comparison_found(admin_client):
    row = fixtures.connection("web-shop", adapter="stripe")
    assert "None yet. It needs the API credentials" in html(
        admin_client.get(page("connection_change", row.pk))
    )
    now = timezone.now()
    Reconciliation.objects.create(
        connection=row, period="p", since=now, until=now, state="done", events_missed=7, customers_missed=3
    )
    assert "7 facts were missing (about 3 customers)" in html(
        admin_client.get(page("connection_change", row.pk))
    )


def test_a_kind_with_several_secrets_takes_them_with_a_space_between(admin_client):
    row = fixtures.connection("crm", adapter="espocrm")
    address = page("connection_secret", row.pk, "inbound")
    assert "Copy each whole" in html(admin_client.post(address, {"secret": "long-enough short"}, follow=True))
    admin_client.post(address, {"secret": "contact-secret opportunity-secret"})
    row.refresh_from_db()
    assert row.inbound_secret == "contact-secret opportunity-secret"
    other = fixtures.connection("web-shop", adapter="hubspot")
    refused = admin_client.post(
        page("connection_secret", other.pk, "inbound"),
        {"secret": "client-secret another-secret"},
        follow=True,
    )
    assert "without spaces" in html(refused)


def test_the_page_of_a_segment_connection_says_why_it_is_not_compared(admin_client):
    row = fixtures.connection("web-shop", adapter="segment")
    assert "no API that lists past events" in html(admin_client.get(page("connection_change", row.pk)))


@pytest.mark.parametrize("kind", list(registry.ADAPTERS))
def test_every_kind_has_a_page_to_add_and_to_change_it(admin_client, kind):
    assert admin_client.post(page("connection_add"), kind_form(adapter=kind)).status_code in {200, 302}
    row = Connection.objects.get()
    text = html(admin_client.get(page("connection_change", row.pk)))
    for need in registry.get(kind).needs:
        assert f'name="need_{need.name}"' in text
    for topic in registry.get(kind).topics:
        assert topic in text
