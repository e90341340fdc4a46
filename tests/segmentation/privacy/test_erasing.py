"""Erased means: nothing readable is left anywhere, and nothing brings the person back."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django.db import connection as database
from django.db import models
from django.utils import timezone

from crm_integration import inbox, tokens
from crm_integration.models import DeliveryAttempt, InboundMessage, OutboundMessage, StoredReply
from segmentation import contacts, crypto, due, identities, privacy, scoring, tombstones
from segmentation.models import (
    Alert,
    AttributeDefinition,
    AuditEntry,
    ContactData,
    Customer,
    CustomerIdentity,
    Event,
    EventItem,
    EventText,
    ImportRun,
    PrivacyRequest,
    Segment,
    StoredFileChunk,
    Tombstone,
)
from segmentation.normal import NormalCustomer
from segmentation.privacy import erasing, holders, places, rows, subjects
from tests.crm_integration import fixtures
from tests.crm_integration.adapters.signing import PAYLOADS
from tests.segmentation.privacy import everywhere, person

pytestmark = pytest.mark.django_db


def everything_about_eva(connection, settings):
    eva = person.live()
    # Her older account: she draws under its number from then on, and the audit entry of the merge says so.
    older = Customer.objects.create(reference=f"{person.REFERENCE}-old", created_at=person.AT)
    identities.merge(eva, older)
    person.received(connection, person.order_body(), f"msg-{person.REFERENCE}-1")
    person.received(connection, person.customer_body(), "msg-2")
    person.sent(connection, eva)
    upload = person.orders_file(
        settings.VAR_DIR / "uploads" / "token", (person.REFERENCE, person.EMAIL, "o-7"), ("K-1", "", "o-8")
    )
    person.imported(upload)
    ImportRun.objects.create(kind="events", file_name="x.csv", error=f"“{person.EMAIL}” is not a date.")
    token, _text = tokens.issue(name="desk", scopes=["events:read"])
    reply = {"key": f"{person.REFERENCE}:1", "request_sha256": "0", "status": 202, "body": b"{}"}
    StoredReply.objects.create(token=token, **reply)
    Alert.objects.create(key="gone", message=f"Customer {person.REFERENCE} was deleted in “My shop”.")
    return eva


def test_nothing_readable_is_left_anywhere(connection, settings):
    eva = everything_about_eva(connection, settings)
    before = everywhere.found(*person.WORDS)
    assert {hit.split(":")[0] for hit in before} >= {
        "segmentation_customer.reference", "segmentation_event.source_key", "segmentation_attributevalue.text",
        "segmentation_customeridentity.value", "crm_integration_inboundmessage.body", "segmentation_importrun.error",
        "crm_integration_inboundmessage.dedupe_key", "crm_integration_outboundmessage.body", "orders.csv",
        "crm_integration_deliveryattempt.error", "segmentation_auditentry.detail", "segmentation_alert.message",
        "crm_integration_storedreply.key",
    }  # fmt: skip
    row = privacy.erase(eva, reason=f"asked by {person.FIRST} {person.LAST}")
    assert (row.state, row.error, row.is_held) == ("done", "", True)
    assert everywhere.found(*person.WORDS) == []
    assert not Customer.objects.filter(pk__in=row.customers).exists()
    for model in (Event, EventItem, EventText, OutboundMessage, DeliveryAttempt, ContactData):
        assert not model.objects.filter(**_of(model, row.customers)).exists(), model


def _of(model, customers):
    paths = {EventItem: "event__customer__in", EventText: "event__customer__in"}
    paths[DeliveryAttempt] = "message__customer__in"
    return {paths.get(model, "customer__in"): customers}


def test_what_was_sealed_cannot_be_opened_even_from_a_copy_of_its_row(connection):
    eva = person.live()
    copy = ContactData.objects.get(customer=eva)
    text = bytes(EventText.objects.get().sealed)
    rows.destroy_keys([eva.pk])
    key = bytes(ContactData.objects.get(customer=eva).data_key)
    for sealed in (bytes(copy.sealed), text):
        with pytest.raises(crypto.DecryptionError):
            crypto.unseal(key, sealed)


def test_others_stay_as_they_are(connection, settings):
    person.tell([person.profile("K-1", "other@example.com")], [person.bought("K-1", key="other-order")])
    other = Customer.objects.get(reference="K-1")
    told = person.received(connection, person.order_body("K-1", "o-other"), "msg-other")
    eva = everything_about_eva(connection, settings)
    privacy.erase(eva)
    assert contacts.read(other).email == "other@example.com"
    assert Event.objects.filter(customer=other).count() == 3
    told.refresh_from_db()
    assert told.body is not None
    assert Segment.objects.get().member_count == 0


def test_messages_are_emptied_but_their_ids_still_stop_a_repetition(connection):
    eva = person.live()
    told = person.received(connection, person.order_body(), "msg-7")
    privacy.erase(eva)
    told.refresh_from_db()
    assert (told.body, told.dedupe_key, told.state) == (None, "msg-7", "done")
    again = person.received(connection, person.order_body(), "msg-7")
    assert again.pk == told.pk
    assert again.body is None


def test_old_webhooks_bring_nobody_back_and_are_counted(connection):
    privacy.erase(person.live())
    late = person.received(connection, person.order_body(order="o-late"), "msg-late")
    profile = person.received(connection, person.customer_body(), f"msg-{person.REFERENCE}")
    unknown = person.received(
        connection, {"type": "visit.left", "timestamp": person.AT.isoformat(), "data": {"who": person.REFERENCE}}, "msg-u"
    )  # fmt: skip
    broken = person.received(connection, f"<xml>{person.EMAIL}</xml>".encode(), "msg-b")
    assert (late.outcome, late.detail["erased"], late.events_created) == ("erased", 1, 0)
    assert profile.outcome == "erased"
    assert [message.body for message in (late, profile, unknown, broken)] == [None] * 4
    assert not Customer.objects.exists()
    assert everywhere.found(*person.WORDS) == []


def test_a_message_that_tells_of_others_too_brings_them_in(connection):
    privacy.erase(person.live())
    report = person.tell([], [person.bought(key="a"), person.bought("K-2", key="b")])[1]
    assert (report.created, report.erased) == (1, 1)
    assert Event.objects.get().customer.reference == "K-2"


def test_a_waiting_message_is_processed_without_the_person_and_then_emptied(connection):
    eva = person.live()
    body = json.dumps(person.order_body(order="w")).encode()
    waiting = inbox.receive(connection, dedupe_key="w", body=body, received_at=person.AT).message_id
    privacy.erase(eva)
    assert InboundMessage.objects.get(pk=waiting).body is not None
    inbox.process(waiting)
    message = InboundMessage.objects.get(pk=waiting)
    assert (message.outcome, message.body) == ("erased", None)
    assert not Customer.objects.exists()


def test_the_old_file_brings_nobody_back_and_counts_the_lines(tmp_path):
    file = person.orders_file(
        tmp_path, (person.REFERENCE, person.EMAIL, "o-7"), ("", person.GUEST_EMAIL, "o-8"), ("K-1", "", "o-9")
    )
    person.imported(file)
    eva = Customer.objects.get(reference=person.REFERENCE)
    contacts.write(eva, contacts.Contact(email=person.EMAIL))
    guest = Customer.objects.get(reference__startswith="guest:")
    identities.merge(eva, guest)
    privacy.erase(eva)
    again = person.imported(file)
    assert (again.rows_read, again.rows_repeated, again.skipped, again.rows_rejected) == (
        3,
        1,
        {"erased": 2},
        0,
    )
    run = ImportRun.objects.get(pk=again.run_id)
    assert (run.rows_erased, run.rows_skipped, run.state) == (2, 2, "done")
    assert list(Customer.objects.values_list("reference", flat=True)) == ["K-1"]


def test_a_file_of_customers_skips_the_erased(tmp_path):
    privacy.erase(person.live())
    file = tmp_path / "customers.csv"
    file.write_text(
        f"customer,email,country\n{person.REFERENCE},,CH\nK-9,{person.EMAIL},CH\nK-2,two@example.com,CH\n"
    )
    mapping = {"columns": {"customer": "customer", "email": "email", "country": "country"}}
    report = person.imported(file, kind="customers", mapping=mapping)
    assert report.skipped == {"erased": 2}
    assert list(Customer.objects.values_list("reference", flat=True)) == ["K-2"]


def test_somebody_known_who_shares_the_address_stays_and_can_still_buy():
    eva = person.live()
    person.tell([person.profile("K-HOME")])
    privacy.erase(eva)
    report = person.tell([], [person.bought("K-HOME", key="later", email=person.EMAIL)])[1]
    assert (report.created, report.erased) == (1, 0)


def test_who_came_back_is_let_in_again_when_the_marks_are_lifted():
    privacy.erase(person.live())
    assert privacy.lift(identities.SHOP, person.REFERENCE, person.EMAIL) == 2
    assert person.tell([person.profile()])[0].customers_created == 1
    assert AuditEntry.objects.get(action="privacy.lifted").detail == {"marks": 2}


def test_ids_that_differ_in_case_alone_are_two_people():
    privacy.erase(person.live())
    report = person.tell([NormalCustomer(person.REFERENCE.lower())])[0]
    assert (report.customers_created, report.erased) == (1, 0)


# --- every model
def _chain(model):
    return [
        field
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey) and not isinstance(field, models.ManyToManyField)
    ]


def referring(targets):
    """Models with a foreign key to one of these."""
    return {model for model in apps.get_models() for field in _chain(model) if field.related_model in targets}


def test_every_model_that_refers_to_a_customer_is_erased_with_them():
    listed = {Customer, Event, *places.OF_EVENTS, *places.OF_CUSTOMERS}
    for holder in holders.registered():
        listed |= set(holder.models)
    reached = {Customer}
    while more := referring(reached) - reached:
        reached |= more
    assert reached <= listed, f"not erased: {reached - listed}"


def test_a_new_model_that_is_not_listed_would_be_noticed():
    assert referring({Customer}) >= {Event, ContactData, OutboundMessage}


# --- dying, doubling, racing
def test_an_erasure_that_dies_half_way_finishes_on_the_next_attempt(connection, settings, monkeypatch):
    eva = everything_about_eva(connection, settings)
    row = privacy.request_for(eva, privacy.Kind.ERASE, source="test")

    def dies(*_args):
        raise KeyboardInterrupt  # nothing catches it: as good as kill -9

    with monkeypatch.context() as patch:
        patch.setattr(erasing.files, "forget", dies)
        with pytest.raises(KeyboardInterrupt):
            privacy.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("running", 1)
    assert not Customer.objects.filter(pk=eva.pk).exists()
    assert row.counts["event"] >= 4
    assert "orders.csv" in str(everywhere.found(*person.WORDS))
    PrivacyRequest.objects.filter(pk=row.pk).update(lease_until=person.AT)
    privacy.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.subject) == ("done", "")
    assert everywhere.found(*person.WORDS) == []


@pytest.mark.parametrize("step", ["destroy_keys", "delete"])
def test_an_error_at_any_step_is_tried_again_and_says_nothing_of_the_person(monkeypatch, caplog, step):
    eva = person.live()
    row = privacy.request_for(eva, privacy.Kind.ERASE, source="test")

    def fails(*_args, **_options):
        raise RuntimeError(person.EMAIL)

    with monkeypatch.context() as patch:
        patch.setattr(rows, step, fails)
        privacy.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.error) == ("queued", "RuntimeError")
    logged = caplog.text
    assert "privacy.failed" in logged
    assert not [word for word in person.WORDS if word in logged]
    PrivacyRequest.objects.filter(pk=row.pk).update(run_after=person.AT)
    privacy.work(row.pk)
    assert everywhere.found(*person.WORDS) == []


def test_asking_twice_is_one_request_and_asking_later_finds_nothing():
    eva = person.live()
    first = privacy.request_for(eva, privacy.Kind.ERASE, source="test")
    by_id = privacy.request(privacy.Kind.ERASE, "crm", person.CRM_ID, source="crm")
    assert by_id == first
    privacy.work(first.pk)
    privacy.work(first.pk)
    later = privacy.request(privacy.Kind.ERASE, "crm", person.CRM_ID, person.EMAIL, source="crm")
    assert later != first
    privacy.work(later.pk)
    later.refresh_from_db()
    assert (later.state, later.is_held, later.customers) == ("done", False, [])


def test_merged_people_go_together_whichever_id_was_named():
    person.live()
    guest = Customer.objects.get(reference__startswith="guest:")
    row = privacy.erase(guest)
    assert len(row.customers) == 2
    assert not Customer.objects.exists()
    assert tombstones.among([("", person.GUEST_EMAIL), ("", person.EMAIL)], namespace="shop") == {
        ("", person.GUEST_EMAIL), ("", person.EMAIL),
    }  # fmt: skip


def test_whoever_is_merged_in_meanwhile_goes_too(monkeypatch):
    eva = person.live()
    late = Customer.objects.create(reference="K-LATE")
    destroy = rows.destroy_keys

    def merged_meanwhile(keys):
        destroy(keys)
        if not Customer.objects.get(pk=late.pk).merged_into_id:
            identities.merge(Customer.objects.get(pk=eva.pk), late)

    monkeypatch.setattr(rows, "destroy_keys", merged_meanwhile)
    monkeypatch.setattr(rows, "destroy_keys", _once(merged_meanwhile, destroy))
    row = privacy.erase(eva)
    assert row.state == "done"
    assert not Customer.objects.exists()


def _once(first, then):
    calls = iter([first])
    return lambda keys: next(calls, then)(keys)


def test_who_was_never_known_leaves_a_tombstone_and_an_answer():
    row = privacy.request(privacy.Kind.ERASE, "hubspot", "4711-00", "never@example.com", source="hubspot")
    assert "never@example.com" not in str(everywhere.found("never@example.com", "4711-00"))
    privacy.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.is_held, row.counts) == ("done", False, {})
    assert Tombstone.objects.filter(request=row).count() == 2
    report = person.tell([NormalCustomer("4711-00")], namespace="hubspot")[0]
    assert (report.customers_created, report.erased) == (0, 1)


def test_a_request_names_somebody():
    with pytest.raises(privacy.NotAsked):
        privacy.request(privacy.Kind.ERASE, "shop", "", " ", source="test")
    assert not PrivacyRequest.objects.exists()


def test_a_score_worked_out_before_the_erasure_is_not_written_after_it(monkeypatch):
    from segmentation.models import CustomerFeatures, Decision, DueCustomer, Membership, Score
    from tests.support import mini_shop

    mini_shop.build(10)
    eva = Customer.objects.order_by("pk").first()
    compute = scoring.compute

    def meanwhile(*args):
        computed = compute(*args)
        privacy.erase(eva)
        return computed

    monkeypatch.setattr(scoring, "compute", meanwhile)
    due.mark_due([eva.pk], cause="test")
    monkeypatch.setattr(scoring, "compute", meanwhile)
    report = scoring.score_customers([eva.pk], scoring.pin(), cause=Decision.Cause.EVENT)
    assert (report.written, eva.pk in report.stale) == ((), True)
    for model in (Score, Membership, Decision, CustomerFeatures, DueCustomer):
        assert not model.objects.filter(customer=eva.pk).exists(), model
    assert due.mark_due([eva.pk], cause="test") == set()
    assert not DueCustomer.objects.filter(customer=eva.pk).exists()


def test_a_choice_that_only_the_person_had_is_no_choice_any_more():
    column = AttributeDefinition.objects.create(slug="nickname", label="Nickname", kind="choice")
    person.tell([person.profile("K-1", "one@example.com")])
    column.refresh_from_db()
    assert column.choices == ["keyring for evi"]
    eva = person.live()
    privacy.erase(eva)
    column.refresh_from_db()
    assert column.choices == ["keyring for evi"]
    privacy.erase(Customer.objects.get(reference="K-1"))
    column.refresh_from_db()
    assert column.choices == []


def test_a_holdout_draw_under_the_persons_reference_goes_under_a_pseudonym():
    eva = person.live()
    other = Customer.objects.create(reference="K-3", holdout_key=person.REFERENCE)
    privacy.erase(eva)
    other.refresh_from_db()
    assert other.holdout_key not in {"", person.REFERENCE}


def test_stored_files_go_when_they_name_the_person_and_others_stay(settings):
    eva = person.live()
    folder = settings.VAR_DIR / "uploads"
    person.orders_file(folder / "hers", (person.REFERENCE, "", "o"))
    other = person.orders_file(folder / "others", ("K-2", "", "o"))
    packed = folder / "packed" / "orders.parquet"
    packed.parent.mkdir()
    packed.write_bytes(b"PAR1")
    waiting = person.orders_file(folder / "waiting", (person.REFERENCE, "", "o"))
    ImportRun.objects.create(
        kind="events", file_name="o.csv", mapping={"file": "var:uploads/waiting/orders.csv"}
    )
    privacy.erase(eva)
    assert not (folder / "hers").exists()
    assert not packed.exists()
    assert other.exists()
    assert waiting.exists()


def test_files_of_other_machines_go_from_the_database(settings):
    if database.vendor == "sqlite":
        StoredFileChunk.objects.create(
            name="uploads/t/orders.csv", number=0, content=crypto.encrypt(f"x,{person.EMAIL}".encode())
        )
    eva = person.live()
    StoredFileChunk.objects.create(
        name="imports/o.1.rejects.csv", number=0, content=crypto.encrypt(b"1,bad,K-2")
    )
    StoredFileChunk.objects.create(
        name="imports/o.2.rejects.csv", number=0, content=crypto.encrypt(f"1,bad,{person.PHONE}".encode())
    )
    privacy.erase(eva)
    assert list(StoredFileChunk.objects.values_list("name", flat=True)) == ["imports/o.1.rejects.csv"]


def test_short_numbers_do_not_empty_the_messages_of_others(connection):
    person.tell([NormalCustomer("7")])
    other = person.received(connection, person.order_body("K-1", "o-1", note="7"), "m-1")
    hers = person.received(connection, person.order_body("7", "o-2"), "m-2")
    privacy.erase(Customer.objects.get(reference="7"))
    other.refresh_from_db()
    hers.refresh_from_db()
    assert (other.body is not None, hers.body) == (True, None)


def test_a_connection_called_shop_has_people_of_its_own_and_its_bodies_are_read_by_their_topic():
    shop = fixtures.connection("shop", adapter="woocommerce")
    body = json.loads((PAYLOADS / "woocommerce/order_processing.json").read_text())
    # Nothing but a short number tells whose it is.
    body |= {"customer_id": 7, "billing": {"country": "GB"}}
    said = {"topic": "order.updated", "received_at": timezone.now()}
    told = inbox.receive(shop, dedupe_key="m-1", body=json.dumps(body).encode(), **said)
    inbox.process(told.message_id)
    privacy.erase(CustomerIdentity.objects.get(namespace="shop-woocommerce", value="7").customer)
    assert InboundMessage.objects.get(pk=told.message_id).body is None


def test_people_of_asks_for_everybody_with_the_address():
    eva = person.live()
    person.tell([person.profile("K-HOME")])
    home = Customer.objects.get(reference="K-HOME")
    guest = Customer.objects.get(merged_into=eva)
    assert subjects.people_of(subjects.Asked(email=person.EMAIL.upper())) == [eva.pk, home.pk, guest.pk]
    assert subjects.others_with_the_email(eva) == 1
