"""The wizard, as an owner, a viewer and a stranger meet it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from crm_integration import connections, inbox
from crm_integration.adapters import registry
from crm_integration.adapters.examples import PERSON
from crm_integration.models import Connection, InboundMessage, OutboundMessage, RefusedDelivery
from segmentation.models import AuditEntry, Customer, Decision, DueCustomer
from tests.crm_integration import fixtures
from tests.crm_integration.fixtures import decision

pytestmark = pytest.mark.django_db
# Session, user, the shop, the connection, the newest message, and what the sidebar asks permissions for.
SETUP_PAGE = 7
# What an open page asks twice a second while a message is on its way to a delivered decision.
WATCH = 16
NEEDS = {
    "shopify": {"need_shop_domain": "my-shop.myshopify.com"},
    "woocommerce": {"need_site": "https://shop.example.com"},
    "mautic": {"need_site": "https://mautic.example.com"},
    "hmac": {
        "need_header": "X-Sig", "need_algorithm": "sha256", "need_encoding": "hex", "need_base": "{body}",
        "need_tolerance": "300",
    },
}  # fmt: skip
PAGES = (
    "connection_connect",
    "connection_connect_kind",
    "connection_setup",
    "connection_watch",
    "connection_tester",
)


def page(name, *args):
    return reverse(f"admin:crm_integration_{name}", args=args)


def html(answer):
    return answer.content.decode()


@pytest.fixture
def person(client, django_user_model):
    user = django_user_model.objects.create_user("ada", is_staff=True)
    client.force_login(user)
    return user


def grant(user, *codenames):
    user.user_permissions.add(
        *Permission.objects.filter(content_type__app_label="crm_integration", codename__in=codenames)
    )


def connect(client, kind, **fields):
    form = {"name": "My shop", **NEEDS.get(kind, {}), **fields}
    return client.post(page("connection_connect_kind", kind), form)


def try_it(client, row):
    return client.post(page("connection_try", row.pk), headers={"accept": "application/json"})


def watch(client, row, **query):
    return client.get(page("connection_watch", row.pk), query).json()


def states(answer):
    return {step["name"]: step["state"] for step in answer["steps"]}


# --- choosing and filling in
def test_every_kind_has_a_card_and_a_form_of_what_it_needs(admin_client):
    cards = html(admin_client.get(page("connection_connect")))
    assert cards.count("tw-choice") == len(registry.KNOWN)
    for kind in registry.KNOWN:
        assert page("connection_connect_kind", kind.slug) in cards
        form = html(admin_client.get(page("connection_connect_kind", kind.slug)))
        assert all(f'name="need_{need.name}"' in form for need in kind.needs)
        assert ('name="secret"' in form) == kind.secret_is_theirs


def test_a_new_kind_appears_without_touching_the_wizard(admin_client, monkeypatch):
    from crm_integration.adapters.standard import StandardAdapter

    class Novel(StandardAdapter):
        slug, label, blurb = "novel", "Novel CRM", "A CRM of tomorrow."

    monkeypatch.setattr(registry, "KNOWN", (*registry.KNOWN, Novel()))
    monkeypatch.setitem(registry.ADAPTERS, "novel", Novel())
    assert "A CRM of tomorrow." in html(admin_client.get(page("connection_connect")))
    assert "Novel CRM" in html(connect(admin_client, "novel", name="New one"))
    row = Connection.objects.get()
    assert watch(admin_client, row, message=try_it(admin_client, row).json()["message"])["steps"]


def test_an_unknown_kind_is_not_found(admin_client):
    assert admin_client.get(page("connection_connect_kind", "nobody")).status_code == 404


@pytest.mark.parametrize("kind", list(registry.ADAPTERS))
def test_each_kind_is_connected_and_its_test_event_is_understood(admin_client, kind, monkeypatch):
    adapter = registry.get(kind)
    monkeypatch.setattr(type(adapter), "hydrate", lambda self, parsed, connection: parsed)
    secret = {"secret": adapter.new_secret()} if adapter.secret_is_theirs else {}
    answer = connect(admin_client, kind, **secret)
    row = Connection.objects.get()
    assert (row.name, row.slug, row.adapter) == ("My shop", "my-shop", kind)
    text = html(admin_client.get(page("connection_setup", row.pk)))
    assert "/hooks/my-shop/" in text
    assert all(topic in text for topic in adapter.topics)
    assert row.inbound_secret not in text
    if not adapter.secret_is_theirs:
        assert "no-store" in answer["Cache-Control"]
        assert row.inbound_secret in html(answer)
    number = try_it(admin_client, row).json()["message"]
    inbox.process(number)
    message = InboundMessage.objects.get()
    assert (message.pk, message.state) == (number, "done"), message.error
    assert message.outcome in {"recorded", "nothing_new"}
    assert states(watch(admin_client, row, message=number))["understood"] == "done"


def test_a_connection_with_several_secrets_can_be_tried(admin_client):
    assert connect(admin_client, "espocrm", secret="contact-secret opportunity-secret").status_code == 302
    number = try_it(admin_client, Connection.objects.get()).json()["message"]
    inbox.process(number)
    assert InboundMessage.objects.get().state == "done"


def test_two_connections_of_one_name_have_two_addresses(admin_client):
    connect(admin_client, "standard")
    connect(admin_client, "standard")
    assert sorted(Connection.objects.values_list("slug", flat=True)) == ["my-shop", "my-shop-2"]


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("shopify", {"need_shop_domain": "shop.example.com"}, "does not look right"),
        ("shopify", {"secret": "short"}, "8 to 256 characters"),
        ("svix", {"secret": "not-base64-at-all!"}, "whsec_ followed by"),
        ("woocommerce", {"need_site": "https://127.0.0.1/"}, "private or reserved"),
        ("standard", {"name": ""}, "This field is required"),
    ],
)
def test_what_cannot_be_right_is_said_in_the_form(admin_client, kind, fields, says):
    answer = connect(admin_client, kind, **fields)
    assert answer.status_code == 200
    assert says in html(answer)
    assert not Connection.objects.exists()


def test_a_secret_that_is_known_later_is_pasted_on_the_next_page(admin_client):
    answer = connect(admin_client, "stripe")
    row = Connection.objects.get()
    assert answer["Location"] == page("connection_setup", row.pk)
    assert "Set the signing secret first" in html(admin_client.get(answer["Location"]))
    assert try_it(admin_client, row).status_code == 409
    given = admin_client.post(
        page("connection_secret", row.pk, "inbound"), {"secret": "whsec_of_stripe", "then": "setup"}
    )
    assert given["Location"] == page("connection_setup", row.pk)
    assert try_it(admin_client, row).status_code == 200


def test_a_secret_made_anew_is_shown_on_the_same_page(admin_client, connection):
    address = page("connection_secret", connection.pk, "inbound")
    answer = admin_client.post(address, {"then": "setup"})
    connection.refresh_from_db()
    assert connection.inbound_secret in html(answer)
    assert "/hooks/shop/" in html(answer)


# --- trying and watching
def test_a_test_event_is_watched_until_it_is_a_delivered_decision(admin_client):
    row = fixtures.connection(url="https://crm.example.com/")
    number = try_it(admin_client, row).json()["message"]
    assert states(watch(admin_client, row, message=number)) == {
        "stored": "done", "understood": "now", "customer": "wait", "scored": "wait", "decided": "wait",
        "delivered": "wait",
    }  # fmt: skip
    inbox.process(number)
    seen = watch(admin_client, row, message=number)
    assert states(seen)["customer"] == "done"
    assert states(seen)["scored"] == "now"
    assert not seen["over"]
    DueCustomer.objects.all().delete()
    made = decision(PERSON)
    OutboundMessage.objects.create(
        connection=row,
        message_id="d",
        topic="decision.made",
        body=b"{}",
        customer=made.customer,
        state="done",
    )
    seen = watch(admin_client, row, message=number)
    assert set(states(seen).values()) == {"done"}
    assert seen["over"]
    assert Customer.objects.get().reference == PERSON


def test_a_second_test_event_says_that_nothing_changed(admin_client, connection):
    inbox.process(try_it(admin_client, connection).json()["message"])
    DueCustomer.objects.all().delete()
    decision(PERSON)
    Decision.objects.update(decided_at="2020-01-01T00:00:00Z")
    number = try_it(admin_client, connection).json()["message"]
    inbox.process(number)
    DueCustomer.objects.all().delete()
    seen = watch(admin_client, connection, message=number)
    decided = next(step for step in seen["steps"] if step["name"] == "decided")
    assert "As before" in decided["text"]
    assert states(seen)["delivered"] == "skipped"
    assert seen["over"]


def test_the_first_real_message_is_followed_too(admin_client, client, connection):
    assert watch(admin_client, connection, after=0)["message"] is None
    fixtures.deliver(client, connection, b"nonsense")
    message = InboundMessage.objects.get()
    inbox.process(message.pk)
    seen = watch(admin_client, connection, after=0)
    assert seen["message"] == message.pk
    assert states(seen)["understood"] == "failed"
    assert seen["over"]
    assert watch(admin_client, connection, after=message.pk)["message"] is None


def test_a_message_of_another_connection_is_not_shown(admin_client, connection):
    other = fixtures.connection("other")
    number = try_it(admin_client, other).json()["message"]
    assert watch(admin_client, connection, message=number)["message"] is None


def test_without_scripts_the_page_comes_back_with_the_way_so_far(admin_client, connection):
    answer = admin_client.post(page("connection_try", connection.pk), follow=True)
    assert "Signed, checked and stored as message" in html(answer)


def test_a_switched_off_connection_is_not_tried(admin_client, connection):
    Connection.objects.update(is_active=False)
    answer = admin_client.post(page("connection_try", connection.pk), follow=True)
    assert "Switch it on first" in html(answer)
    assert not InboundMessage.objects.exists()


def test_a_stored_secret_that_the_kind_cannot_use_is_said(admin_client, connection):
    Connection.objects.filter(pk=connection.pk).update(inbound_secret="nonsense")
    assert "Set it again" in try_it(admin_client, connection).json()["problem"]
    assert not RefusedDelivery.objects.exists()


def test_trying_is_written_to_the_audit_log(admin_client, connection):
    number = try_it(admin_client, connection).json()["message"]
    assert AuditEntry.objects.get(action="connection.tried").detail == {"message": number}


@pytest.mark.parametrize("text", ["x", "-1", "9" * 30, "1' OR 1=1", ""])
def test_odd_numbers_name_no_message(admin_client, connection, text):
    assert watch(admin_client, connection, message=text)["message"] is None
    assert watch(admin_client, connection, after=text)["message"] is None


# --- who may
@pytest.mark.parametrize("name", PAGES)
def test_a_stranger_sees_nothing(client, person, connection, name):
    args = {"connection_connect": (), "connection_connect_kind": ("standard",)}.get(name, (connection.pk,))
    assert client.get(page(name, *args)).status_code == 403
    client.logout()
    assert client.get(page(name, *args)).status_code == 302


def test_a_viewer_looks_on_and_changes_nothing(client, person, connection):
    grant(person, "view_connection")
    text = html(client.get(page("connection_setup", connection.pk)))
    assert "Send a test event" not in text
    assert "Replace the secret" not in text
    assert page("connection_tester", connection.pk) not in text
    assert watch(client, connection, after=0)["message"] is None
    assert client.post(page("connection_try", connection.pk)).status_code == 403
    assert connect(client, "standard").status_code == 403
    assert client.get(page("connection_connect")).status_code == 403
    assert Connection.objects.count() == 1
    assert not InboundMessage.objects.exists()


def test_links_lead_only_where_the_reader_may_go(client, admin_client, person, connection):
    number = try_it(admin_client, connection).json()["message"]
    inbox.process(number)
    grant(person, "view_connection")
    client.force_login(person)
    assert not any(step["link"] for step in watch(client, connection, message=number)["steps"])
    client.force_login(type(person).objects.get(username="admin"))
    linked = {step["name"] for step in watch(client, connection, message=number)["steps"] if step["link"]}
    assert linked == {"stored", "customer"}


def test_trying_needs_a_post(admin_client, connection):
    assert admin_client.get(page("connection_try", connection.pk)).status_code == 405


# --- cost
def test_the_pages_query_counts_do_not_grow_with_the_messages(admin_client, connection):
    def queries(address):
        admin_client.get(address)  # what the process keeps after its first page
        with CaptureQueriesContext(database) as found:
            admin_client.get(address)
        return len(found)

    number = try_it(admin_client, connection).json()["message"]
    inbox.process(number)
    setup = page("connection_setup", connection.pk)
    watched = f"{page('connection_watch', connection.pk)}?message={number}"
    few = queries(setup), queries(watched)
    for _turn in range(15):
        inbox.process(try_it(admin_client, connection).json()["message"])
    assert (queries(setup), queries(watched)) == few
    assert few[0] <= SETUP_PAGE
    assert few[1] <= WATCH
    assert connections.has_secret(connection, connections.Door.INBOUND)


@pytest.mark.parametrize(
    ("site", "is_said"), [("http://127.0.0.1:8000", True), ("https://tierwise.example.com", False)]
)
def test_an_address_that_only_this_machine_reaches_is_said_to_be_one(
    admin_client, connection, settings, site, is_said
):
    settings.SITE_URL = site
    text = html(admin_client.get(page("connection_setup", connection.pk)))
    assert f"{site}/hooks/shop/" in text
    assert ("Only this machine can reach this address" in text) is is_said


def test_each_page_of_the_wizard_says_what_it_is(admin_client, connection):
    for name, args, title in (
        ("connect", (), "Connect a CRM"),
        ("connect_kind", ("shopify",), "Connect Shopify"),
        ("setup", (connection.pk,), "Set up Shop"),
    ):
        text = html(admin_client.get(page(f"connection_{name}", *args)))
        assert f'<h1 class="tw-title">{title}</h1>' in text


def test_the_list_names_the_kind_as_people_do(admin_client, connection):
    Connection.objects.create(slug="old", name="Old", adapter="gone")
    text = html(admin_client.get(page("connection_changelist")))
    assert "Standard Webhooks (generic)" in text
    assert "gone" in text


def test_a_name_that_two_people_give_at_once_is_said(admin_client, connection, monkeypatch):
    monkeypatch.setattr("crm_integration.admin.connect_form._free_slug", lambda name: connection.slug)
    answer = connect(admin_client, "standard", name="Shop")
    assert "made at the same moment" in html(answer)
    assert Connection.objects.count() == 1
