"""A shop that removed the app asks to erase everything: staff say yes once, and whoever came from it alone goes."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse
from django.utils import timezone

from crm_integration import inbox
from crm_integration.models import InboundMessage
from segmentation import identities, ingest, privacy
from segmentation.jobs import Job
from segmentation.kinds import EventKind
from segmentation.models import (
    Alert,
    AuditEntry,
    Customer,
    CustomerIdentity,
    Event,
    EventSource,
    PrivacyRequest,
)
from segmentation.normal import NormalEvent
from segmentation.privacy import erasing, rows, sources
from tests.crm_integration import fixtures
from tests.crm_integration.adapters.signing import content
from tests.segmentation.admin import world

pytestmark = pytest.mark.django_db
ORDER = content("shopify/orders_paid")


@pytest.fixture
def shop(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    return fixtures.connection("candles", adapter="shopify")


def told(row, body, topic, key):
    message = inbox.receive(
        row, dedupe_key=key, body=json.dumps(body).encode(), received_at=timezone.now(), topic=topic
    ).message_id
    inbox.process(message)
    return InboundMessage.objects.get(pk=message)


def order(row, number, *, customer=None, email=""):
    """One order; without a customer it is a guest's."""
    person = customer and {"id": customer, "email": email, "updated_at": ORDER["created_at"]}
    body = {**ORDER, "id": 9_000_000 + number, "customer": person, "email": email, "contact_email": email}
    return told(row, body, "orders/paid", f"order-{number}")


def ask(row):
    told(row, content("shopify/shop_redact"), "shop/redact", "redact")
    return Alert.objects.get(resolved_at=None)


def erase(client, row, *, typed="candles"):
    """What the person does who confirms it."""
    return client.post(
        reverse("admin:crm_integration_connection_erase", args=[row.pk]),
        {"reference": typed, "reason": "asked by the shop"},
    )


def known(reference):
    return Customer.objects.filter(reference=reference).exists()


def bought_elsewhere(reference, *, namespace=identities.SHOP):
    source = EventSource.objects.get_or_create(slug="import")[0]
    bought = NormalEvent(f"{reference}|1", EventKind.ORDER_PLACED, timezone.now(), reference)
    ingest.record_events(
        [bought], source=source, namespace=namespace, received_at=timezone.now(), cause="test"
    )
    return Customer.objects.order_by("-pk").first()


def worked(row):
    privacy.work(row.pk)
    row.refresh_from_db()
    return row


def make_due(row):
    PrivacyRequest.objects.filter(pk=row.pk).update(run_after=timezone.now() - timezone.timedelta(minutes=1))


def test_nothing_goes_before_a_person_says_so_and_the_alert_says_where(shop):
    order(shop, 1, customer=501, email="ada@example.com")
    address = reverse("admin:crm_integration_connection_erase", args=[shop.pk])
    assert address in ask(shop).message
    assert known("candles:501")
    assert not PrivacyRequest.objects.exists()


def test_who_is_known_by_the_shop_alone_goes_and_the_others_are_kept_with_the_reason(
    shop, admin_client, nudges, django_capture_on_commit_callbacks
):
    only, guest = (
        order(shop, 1, customer=501, email="ada@example.com"),
        order(shop, 2, email="gus@example.com"),
    )
    order(shop, 3, customer=502, email="bea@example.com")
    CustomerIdentity.objects.create(
        customer=Customer.objects.get(reference="candles:502"), namespace="crm", value="c-2"
    )
    order(shop, 4, customer=503, email="cid@example.com")
    bought_elsewhere("503", namespace="candles")
    order(shop, 5, customer=504, email="dan@example.com")
    imported, joined = bought_elsewhere("KD-1"), Customer.objects.get(reference="candles:504")
    identities.merge(imported, joined)
    other = order(fixtures.connection("soaps", adapter="shopify"), 6, customer=501, email="eve@example.com")
    alert = ask(shop)
    page = admin_client.get(
        reverse("admin:crm_integration_connection_change", args=[shop.pk])
    ).content.decode()
    assert reverse("admin:crm_integration_connection_erase", args=[shop.pk]) in page

    with django_capture_on_commit_callbacks(execute=True):
        answer = erase(admin_client, shop)
    row = PrivacyRequest.objects.get()
    assert answer["Location"] == reverse("admin:segmentation_privacyrequest_change", args=[row.pk])
    assert (Job.PRIVACY, {"request_id": row.pk}) in nudges
    alert.refresh_from_db()
    assert alert.resolved_at is not None
    assert known("candles:501"), "a worker does it"

    assert worked(row).state == "done"
    assert not known("candles:501")
    assert not Customer.objects.filter(reference__startswith="guest:").exists()
    assert all(known(f"candles:{number}") for number in (502, 503, 504))
    assert known("soaps:501")
    for message, is_emptied in ((only, True), (guest, True), (other, False)):
        message.refresh_from_db()
        assert (message.body is None) is is_emptied
    kept = {entry["because"]: entry["customers"] for entry in json.loads(privacy.answer(row))["kept"]}
    assert kept == {
        str(sources.OTHER_ID): [Customer.objects.get(reference="candles:502").pk],
        str(sources.OTHER_EVENTS): [Customer.objects.get(reference="candles:503").pk],
        str(sources.MERGED): [imported.pk],
    }
    assert (row.counts["customer"], row.counts["kept"], row.subject) == (2, 3, "")
    assert AuditEntry.objects.get(action="privacy.erase_from").actor is not None
    shown = admin_client.get(answer["Location"]).content.decode()
    assert "known by one source alone" in shown

    order(shop, 7, customer=501, email="ada@example.com")
    assert not known("candles:501"), "who was erased stays away"


def test_a_wrong_name_a_wrong_person_and_a_shop_that_never_asked_erase_nobody(shop, admin_client, client):
    order(shop, 1, customer=501, email="ada@example.com")
    assert erase(admin_client, shop).status_code == 404
    ask(shop)
    assert "not the short name" in erase(admin_client, shop, typed="candle").content.decode()
    client.force_login(world.person("Analyst"))
    assert erase(client, shop).status_code == 403
    assert not PrivacyRequest.objects.exists()
    client.force_login(world.person("Data protection"))
    assert erase(client, shop).status_code == 302
    assert erase(client, shop).status_code == 302
    assert PrivacyRequest.objects.count() == 1


@pytest.fixture
def five(shop, monkeypatch):
    """Five people and a request to erase them, two at a time."""
    monkeypatch.setattr(sources, "AT_ONCE", 2)
    for number in range(5):
        order(shop, number, customer=500 + number, email=f"c{number}@example.com")
    order(shop, 9, email="guest@example.com")
    return privacy.request_from("candles", "candles", source="test")


def test_it_takes_turns_with_other_work(five, monkeypatch, nudges, django_capture_on_commit_callbacks):
    monkeypatch.setattr("segmentation.privacy.requests.WORK_SECONDS", 0)
    for left in (4, 2, 1):
        with django_capture_on_commit_callbacks(execute=True):
            worked(five)
        assert (five.state, five.attempts, Customer.objects.count()) == ("queued", 0, left)
        assert 0 < five.progress <= 1
        assert nudges[-1] == (Job.PRIVACY, {"request_id": five.pk})
        make_due(five)
    worked(five)
    make_due(five)
    assert worked(five).state == "done"
    assert not Customer.objects.exists()
    assert not Event.objects.exists()
    assert (five.counts["customer"], five.counts["kept"], five.result) == (6, 0, None)


def test_what_a_dead_worker_left_half_done_is_done_by_the_next(five, monkeypatch):
    scrub, calls = erasing.traces.scrub, []

    def dies_once(subject):
        calls.append(subject)
        if len(calls) == 2:
            raise RuntimeError
        scrub(subject)

    monkeypatch.setattr(erasing.traces, "scrub", dies_once)
    Alert.objects.create(key="gone", message="Customer c2@example.com was deleted.")
    assert worked(five).state == "queued"
    assert Customer.objects.count() == 2
    assert five.customers, "who is half gone is still known"
    make_due(five)
    assert worked(five).state == "done"
    assert not Customer.objects.exists()
    assert calls[2] == calls[1]
    assert "c2@example.com" not in Alert.objects.get(key="gone").message
    assert not InboundMessage.objects.exclude(body=None).exists()


def test_who_is_merged_with_somebody_from_elsewhere_meanwhile_takes_nobody_along(five, monkeypatch):
    imported = bought_elsewhere("KD-1")
    destroy = rows.destroy_keys

    def meanwhile(keys):
        destroy(keys)
        if imported.merged_from.count() == 0:
            identities.merge(imported, Customer.objects.get(reference="candles:501"))

    monkeypatch.setattr(rows, "destroy_keys", meanwhile)
    while worked(five).state == "queued":
        make_due(five)
    assert five.state == "done"
    assert set(Customer.objects.values_list("reference", flat=True)) == {"KD-1", "candles:501"}
    assert Event.objects.filter(customer=imported).exists()
    (kept,) = json.loads(privacy.answer(five))["kept"]
    assert kept == {"because": str(sources.MERGED), "customers": [imported.pk]}


def test_a_tool_cannot_ask_for_it(five, client):
    from crm_integration.api.serializers.privacy import NewPrivacyRequestSerializer

    assert not NewPrivacyRequestSerializer(data={"kind": "erase_from", "customer": "x"}).is_valid()
    assert NewPrivacyRequestSerializer(data={"kind": "erase", "customer": "x"}).is_valid()
