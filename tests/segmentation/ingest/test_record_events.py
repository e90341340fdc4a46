from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from segmentation import contacts, crypto, identities, ingest
from segmentation.ingest import NormalEvent, NormalItem
from segmentation.jobs import Job
from segmentation.kinds import EventKind
from segmentation.models import (
    Category,
    Customer,
    CustomerIdentity,
    DueCustomer,
    Event,
    EventItem,
    EventText,
    ExchangeRate,
    LeaseState,
    Product,
    Shop,
)

pytestmark = pytest.mark.django_db
WHEN = datetime(2024, 5, 31, 18, 45, tzinfo=UTC)


def order(key="order-1", **changes):
    event = NormalEvent(
        source_key=key,
        kind=EventKind.ORDER_PLACED,
        occurred_at=WHEN,
        customer="C1",
        items=(
            NormalItem("P1", "Lamp", "Lighting", 2, Decimal("20.50")),
            NormalItem("P2", "Bowl", "Kitchen", 1, Decimal("9.99")),
        ),
        order_key="1001",
    )
    return replace(event, **changes)


@pytest.fixture
def record(shop, source, now):
    def call(*events, namespace="shop", received_at=now):
        return ingest.record_events(
            events, source=source, namespace=namespace, received_at=received_at, cause="test"
        )

    return call


def test_an_order_becomes_a_customer_products_and_an_event_with_its_lines(record):
    report = record(order())

    event = Event.objects.get()
    assert (report.created, report.repeated, report.customers_created) == (1, 0, 1)
    assert event.customer.reference == "C1"
    assert (event.amount_minor, event.quantity, event.line_count) == (3049, 3, 2)
    assert [
        (item.product.external_id, item.quantity, item.amount_minor) for item in event.items.order_by("id")
    ] == [
        ("P1", 2, 2050),
        ("P2", 1, 999),
    ]
    numbers = {category.name: category.number for category in Category.objects.all()}
    assert event.category_mask == 1 << numbers["Lighting"] | 1 << numbers["Kitchen"]
    assert Product.objects.get(external_id="P1").first_seen_at == WHEN


def test_the_same_event_twice_is_stored_once_and_makes_nobody_due_again(record):
    record(order())
    before = Customer.objects.get().input_version

    report = record(order(), order())

    assert (report.created, report.repeated) == (0, 2)
    assert Event.objects.count() == 1
    assert EventItem.objects.count() == 2
    assert Customer.objects.get().input_version == before


def test_a_newer_version_supersedes_the_older_row(record, now):
    record(order(source_version=1))

    record(order(source_version=2, items=(), amount=Decimal(5)))

    old, new = Event.objects.order_by("source_version")
    assert old.superseded_at == now
    assert (new.superseded_at, new.amount_minor) == (None, 500)


def test_an_older_version_that_comes_late_is_stored_as_already_superseded(record, now):
    record(order(source_version=2))

    record(order(source_version=1))

    late = Event.objects.get(source_version=1)
    assert late.superseded_at == now
    assert Event.objects.get(source_version=2).superseded_at is None


def test_versions_of_one_batch_leave_only_the_newest_current_in_any_order(record):
    record(order(source_version=3), order(source_version=1), order(source_version=2))

    assert list(Event.objects.filter(superseded_at=None).values_list("source_version", flat=True)) == [3]


def test_a_version_that_moves_an_event_to_another_customer_makes_both_due(record):
    record(order(source_version=1))
    DueCustomer.objects.all().delete()

    record(order(source_version=2, customer="C2"))

    assert {due.customer.reference for due in DueCustomer.objects.all()} == {"C1", "C2"}


def test_foreign_money_is_converted_at_the_rate_of_the_local_day(record, shop):
    shop.time_zone = "Asia/Tokyo"  # 18:45 UTC is already 1 June there
    shop.save()
    ExchangeRate.objects.create(day="2024-06-01", currency="EUR", rate="0.85123")

    record(order(currency="eur", items=(), amount=Decimal("10.01")))

    event = Event.objects.get()
    assert (event.amount_minor, event.original_amount_minor, event.currency) == (852, 1001, "EUR")


def test_halves_round_to_the_even_penny(record, shop):
    ExchangeRate.objects.create(day="2024-05-31", currency="USD", rate="0.5")

    record(
        order("a", currency="USD", items=(), amount=Decimal("0.05")),  # 2.5 pence
        order("b", currency="USD", items=(), amount=Decimal("0.07")),  # 3.5 pence
    )

    assert list(Event.objects.order_by("source_key").values_list("amount_minor", flat=True)) == [2, 4]


def test_a_currency_without_a_minor_unit_is_kept_whole(record):
    ExchangeRate.objects.create(day="2024-05-31", currency="JPY", rate="0.005")

    record(order(currency="JPY", items=(), amount=Decimal(1980)))

    event = Event.objects.get()
    assert (event.original_amount_minor, event.amount_minor) == (1980, 990)


def test_without_a_rate_the_event_is_rejected_with_currency_and_day_and_the_rest_is_stored(record):
    report = record(order("a", currency="USD"), order("b"))

    assert [rejection.index for rejection in report.rejected] == [0]
    assert "USD" in report.rejected[0].reason
    assert "2024-05-31" in report.rejected[0].reason
    assert Event.objects.get().source_key == "b"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"occurred_at": datetime(1989, 12, 31, tzinfo=UTC)}, "1990"),
        ({"occurred_at": datetime(2024, 6, 3, tzinfo=UTC)}, "future"),
        ({"occurred_at": datetime(2024, 5, 1)}, "time zone"),
        ({"source_key": "k" * 201}, "201 characters"),
        ({"source_key": ""}, "no id"),
        ({"customer": "c" * 129}, "129 characters"),
        ({"text": "t" * 20_001}, "20001 characters"),
        ({"text": "a\x00b"}, "not text"),
        ({"customer": "C\ud800"}, "not text"),
        ({"amount": Decimal(-1)}, "zero or more"),
        ({"amount": Decimal("NaN")}, "zero or more"),
        ({"amount": Decimal("1e20")}, "too large"),
        ({"amount": Decimal("1e999999")}, "too large"),
        ({"amount": Decimal("99999999999")}, "too large"),
        ({"items": (NormalItem("P", quantity=-1),)}, "quantity"),
        ({"items": (NormalItem("P", quantity=10**9),)}, "quantity"),
        ({"rating": 7.0}, "rating"),
        ({"source_version": 2**70}, "version"),
    ],
)
def test_what_cannot_be_true_is_rejected_with_a_reason_and_leaves_nothing(record, changes, word):
    report = record(order(**changes))

    assert word in report.rejected[0].reason
    assert not Event.objects.exists()
    assert not Customer.objects.exists()


def test_a_frozen_shop_does_not_judge_the_future(record, shop):
    shop.frozen_on = WHEN.date()
    shop.save()

    report = record(order(occurred_at=WHEN + timedelta(days=60)))

    assert report.created == 1


def test_a_guest_is_counted_as_anonymous_when_nothing_tells_who_it_is(record):
    report = record(order(customer=None))

    assert (report.created, report.anonymous) == (0, 1)
    assert not Event.objects.exists()


def test_a_guest_with_a_known_email_joins_that_customer(record):
    customer = Customer.objects.create(reference="C9")
    contacts.write(customer, contacts.Contact(email="Ada@Example.com"))

    record(order(customer=None, email=" ada@example.COM "))

    assert Event.objects.get().customer == customer


def test_two_guest_orders_with_one_email_are_one_customer(record):
    record(
        order("a", customer=None, email="new@example.com"), order("b", customer=None, email="NEW@example.com")
    )

    assert Customer.objects.count() == 1
    assert contacts.find_by_email("new@example.com") == Customer.objects.get()


def test_a_shop_that_does_not_join_guests_keeps_them_anonymous(record, shop):
    shop.join_guests_by_email = False
    shop.save()

    report = record(order(customer=None, email="new@example.com"))

    assert report.anonymous == 1
    assert not Customer.objects.exists()


def test_a_reference_of_another_namespace_is_another_customer(record):
    record(order("a"), namespace="shop")
    record(order("b"), namespace="crm-x")

    assert set(Customer.objects.values_list("reference", flat=True)) == {"C1", "crm-x:C1"}
    assert CustomerIdentity.objects.filter(namespace="crm-x", value="C1").exists()


def test_an_event_of_a_merged_customer_stays_with_it_and_makes_the_survivor_due(record):
    record(order("a"), order("b", customer="C2"))
    first, second = Customer.objects.order_by("id")
    identities.merge(first, second)
    DueCustomer.objects.all().delete()
    before = Customer.objects.get(pk=first.pk).input_version

    record(order("c", customer="C2"))

    assert Event.objects.get(source_key="c").customer == second
    assert DueCustomer.objects.get().customer == first
    assert Customer.objects.get(pk=first.pk).input_version > before


def test_words_are_sealed_under_the_customers_key(record):
    record(order(kind=EventKind.REVIEWED, rating=4.0, text="Lovely lamp", items=()))

    stored = EventText.objects.get()
    customer = Customer.objects.get()
    assert b"Lovely" not in bytes(stored.sealed)
    key = contacts.data_keys([customer.pk])[customer.pk]
    assert crypto.unseal(key, bytes(stored.sealed)) == b"Lovely lamp"


def test_categories_keep_their_numbers_and_the_65th_shares_a_bit(record):
    record(
        order(
            items=tuple(
                NormalItem(f"P{n}", category=f"Category {n:02d}", amount=Decimal(1)) for n in range(64)
            )
        )
    )

    numbers = dict(Category.objects.values_list("name", "number"))
    assert sorted(numbers.values()) == list(range(64))
    assert Event.objects.get().category_mask == 2**63 - 1


def test_a_thousand_events_of_a_customer_are_one_waiting_rescore(
    record, nudges, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        record(*(order(f"o{n}", items=()) for n in range(1000)))

    due = DueCustomer.objects.get()
    assert (due.state, due.generation, due.cause) == (LeaseState.QUEUED, 1, "test")
    assert nudges == [(Job.RESCORE_DUE, {})]


def test_events_while_a_rescore_runs_leave_it_running_and_show_in_its_generation(record):
    record(order("a"))
    DueCustomer.objects.update(state=LeaseState.RUNNING)

    record(order("b"))

    due = DueCustomer.objects.get()
    assert (due.state, due.generation) == (LeaseState.RUNNING, 2)


def test_an_event_after_a_finished_rescore_queues_it_anew(record):
    record(order("a"))
    DueCustomer.objects.update(state=LeaseState.DONE, attempts=3)

    record(order("b"))

    due = DueCustomer.objects.get()
    assert (due.state, due.attempts) == (LeaseState.QUEUED, 0)


def test_the_base_currency_needs_no_rate_whatever_it_is(record):
    Shop.objects.update(base_currency="JPY")

    record(order(items=(), amount=Decimal("1980"), currency="JPY"))

    assert Event.objects.get().amount_minor == 1980


def test_the_query_count_does_not_grow_with_the_batch(record, django_assert_max_num_queries):
    with django_assert_max_num_queries(45):
        record(*(order(f"o{n}", customer=f"C{n}") for n in range(100)))
