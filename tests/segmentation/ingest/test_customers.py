from datetime import UTC, date, datetime, timedelta

import pytest

from segmentation import attributes, consents, contacts, crypto, ingest
from segmentation.ingest import NormalConsent, NormalCustomer, NormalEvent
from segmentation.kinds import EventKind
from segmentation.models import AttributeDefinition, AttributeValue, Consent, ContactData, Customer, Shop

pytestmark = pytest.mark.django_db
T0 = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def record(shop, source, now):
    def call(*customers, received_at=now):
        return ingest.record_customers(
            customers, namespace="shop", source=source, received_at=received_at, cause="test"
        )

    return call


def test_contact_data_is_readable_only_through_the_customers_key(record):
    record(NormalCustomer("C1", email="ada@example.com", first_name="Ada", birthday=date(1990, 5, 31)))

    row = ContactData.objects.get()
    assert b"ada@example.com" not in bytes(row.sealed)
    assert "ada@example.com" not in row.email_index
    contact = contacts.read(Customer.objects.get())
    assert (contact.email, contact.name, contact.birthday) == ("ada@example.com", "Ada", date(1990, 5, 31))


def test_a_key_that_is_wrapped_anew_while_contact_data_changes_stays_so(record, monkeypatch):
    """Else whoever removes the old key, as told, loses what was sealed."""
    record(NormalCustomer("C1", email="ada@example.com"))
    fresh = crypto.rotate(bytes(ContactData.objects.get().data_key))
    resealed = contacts._resealed

    def meanwhile(*args):
        ContactData.objects.update(data_key=fresh)
        return resealed(*args)

    monkeypatch.setattr(contacts, "_resealed", meanwhile)
    record(NormalCustomer("C1", phone="1"))
    assert bytes(ContactData.objects.get().data_key) == fresh
    assert contacts.read(Customer.objects.get()).phone == "1"


def test_empty_values_change_nothing_and_new_ones_replace_the_old(record):
    record(NormalCustomer("C1", email="ada@example.com", phone="1", country="GB"))

    record(NormalCustomer("C1", phone="2"))

    contact = contacts.read(Customer.objects.get())
    assert (contact.email, contact.phone) == ("ada@example.com", "2")
    assert Customer.objects.get().country == "GB"


def test_the_same_customer_twice_changes_nothing(record, now):
    news = NormalCustomer(
        "C1",
        email="a@example.com",
        country="GB",
        attributes={"size": 3},
        consents=(NormalConsent("marketing", "granted", T0),),
    )
    record(news)
    before = Customer.objects.get().input_version

    report = record(news, received_at=now + timedelta(days=1))

    assert (report.created, report.repeated) == (0, 1)
    assert Customer.objects.get().input_version == before
    assert AttributeValue.objects.count() == 1


def test_somebody_told_about_twice_in_one_batch_keeps_the_later_word(record):
    record(NormalCustomer("C1", phone="1", first_name="Ada"), NormalCustomer("C1", phone="2"))

    contact = contacts.read(Customer.objects.get())
    assert (contact.phone, contact.first_name) == ("2", "Ada")


def test_columns_of_the_shops_own_become_typed_attributes(record, now):
    record(
        NormalCustomer("C1", attributes={"Shoe size": 42, "vip": "yes", "since": "2020-02-03", "kind": "a"}),
        NormalCustomer(
            "C2", attributes={"Shoe size": "39.5", "vip": "no", "since": "2021-02-03", "kind": "b"}
        ),
        NormalCustomer("C3", attributes={"kind": "a"}),
        NormalCustomer("C4", attributes={"kind": "a"}),
    )

    kinds = dict(AttributeDefinition.objects.values_list("slug", "kind"))
    assert kinds == {"shoe_size": "number", "vip": "boolean", "since": "date", "kind": "choice"}
    values = attributes.read(Customer.objects.get(reference="C1").pk, at=now)
    assert values == {"shoe_size": 42.0, "vip": True, "since": date(2020, 2, 3), "kind": "a"}
    assert AttributeDefinition.objects.get(slug="kind").choices == ["a", "b"]


def test_a_value_holds_from_its_time_on(record):
    record(NormalCustomer("C1", attributes={"size": 1}, updated_at=T0))
    record(NormalCustomer("C1", attributes={"size": 2}, updated_at=T0 + timedelta(days=10)))
    customer = Customer.objects.get()

    assert attributes.read(customer.pk, at=T0 - timedelta(days=1)) == {}
    assert attributes.read(customer.pk, at=T0 + timedelta(days=9)) == {"size": 1.0}
    assert attributes.read(customer.pk, at=T0 + timedelta(days=10)) == {"size": 2.0}


def test_a_value_that_does_not_fit_rejects_the_customer_with_the_reason(record):
    AttributeDefinition.objects.create(slug="size", label="Size", kind="number")

    report = record(
        NormalCustomer("C1", attributes={"size": "large"}), NormalCustomer("C2", attributes={"size": 2})
    )

    assert [rejection.index for rejection in report.rejected] == [0]
    assert "large" in report.rejected[0].reason
    assert Customer.objects.get().reference == "C2"


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": " "},
        {"reference": "c" * 129},
        {"email": "e" * 255},
        {"first_name": "a\x00"},
        {"signed_up_at": datetime(2024, 1, 1)},
        {"signed_up_at": datetime(1800, 1, 1, tzinfo=UTC)},
        {"consents": (NormalConsent("marketing", "maybe", T0),)},
    ],
)
def test_what_cannot_be_stored_about_a_customer_is_rejected(record, changes):
    report = record(NormalCustomer(**{"reference": "C1", **changes}))

    assert len(report.rejected) == 1
    assert not Customer.objects.exists()


def test_a_refusal_excludes_from_profiling_and_a_later_agreement_brings_back(record):
    record(NormalCustomer("C1", consents=(NormalConsent("profiling", "denied", T0),)))
    assert not Customer.objects.get().is_profiled

    record(NormalCustomer("C1", consents=(NormalConsent("profiling", "granted", T0 + timedelta(days=1)),)))
    assert Customer.objects.get().is_profiled


def test_an_older_agreement_that_comes_late_does_not_undo_a_refusal(record):
    record(NormalCustomer("C1", consents=(NormalConsent("profiling", "denied", T0),)))

    record(NormalCustomer("C1", consents=(NormalConsent("profiling", "granted", T0 - timedelta(days=1)),)))

    assert not Customer.objects.get().is_profiled


def test_at_the_same_moment_the_refusal_wins(record):
    record(NormalCustomer("C1", consents=(NormalConsent("marketing", "granted", T0),)))
    record(NormalCustomer("C1", consents=(NormalConsent("marketing", "denied", T0),)))
    record(NormalCustomer("C1", consents=(NormalConsent("marketing", "granted", T0),)))

    customer = Customer.objects.get()
    assert consents.current([customer.pk]) == {(customer.pk, "marketing"): "denied"}
    assert Consent.objects.count() == 1


def test_where_consent_is_the_basis_a_new_customer_is_not_profiled_before_agreeing(record):
    Shop.objects.update(profiling_basis="consent")

    record(NormalCustomer("C1"), NormalCustomer("C2", consents=(NormalConsent("profiling", "granted", T0),)))

    assert dict(Customer.objects.values_list("reference", "is_profiled")) == {"C1": False, "C2": True}


def test_a_guest_who_registers_brings_the_guest_orders_along(record, source, now):
    ingest.record_events(
        [NormalEvent("g1", EventKind.ORDER_PLACED, T0, None, email="ada@example.com")],
        source=source,
        namespace="shop",
        received_at=now,
        cause="test",
    )

    record(NormalCustomer("C1", email="Ada@example.com"))

    guest = Customer.objects.get(reference__startswith="guest:")
    assert guest.merged_into == Customer.objects.get(reference="C1")
    assert contacts.find_by_email("ada@example.com").reference == "C1"
