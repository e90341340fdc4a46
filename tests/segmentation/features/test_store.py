"""Events, customers and vectors in and out of whichever database the suite runs on."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from segmentation.features import context, store
from segmentation.features.catalogue import CATALOGUE_VERSION, NUMERIC
from segmentation.features.compute import compute
from segmentation.features.context_data import ContextData
from segmentation.features.frames import CUSTOMERS, EVENTS
from segmentation.features.store import IdRange
from segmentation.kinds import EventKind
from segmentation.models import (
    AttributeDefinition,
    AttributeValue,
    Customer,
    CustomerFeatures,
    Event,
    EventSource,
    ShopContext,
)

pytestmark = pytest.mark.django_db
AS_OF = date(2024, 7, 1)
T = datetime(2024, 7, 1, tzinfo=UTC)


@pytest.fixture
def people() -> list[int]:
    rows = Customer.objects.bulk_create(
        Customer(
            reference=f"C{n}",
            country="GB",
            channel="web",
            signed_up_at=T - timedelta(days=100, microseconds=n),
        )
        for n in range(4)
    )
    return [row.pk for row in rows]


@pytest.fixture
def source() -> EventSource:
    return EventSource.objects.create(slug="file")


def _event(
    customer: int, source: EventSource, *, days: float = 5, kind=EventKind.ORDER_PLACED, **columns
) -> Event:
    values = {
        "source_key": f"k{Event.objects.count()}",
        "amount_minor": 1000,
        "quantity": 1,
        "line_count": 1,
    } | columns
    return Event.objects.create(
        customer_id=customer, kind=kind, occurred_at=T - timedelta(days=days), source=source, **values
    )


def _amounts(customers, shop, **options) -> list[tuple[int, int]]:
    frame = store.read_events(customers, as_of=AS_OF, shop=shop, **options)
    return list(frame.select("customer_id", "amount_minor").rows())


def test_events_come_back_typed_sorted_and_to_the_microsecond(people, source, shop):
    moment = T - timedelta(days=3, microseconds=17)
    _event(people[1], source, days=2, rating=4.5, kind=EventKind.REVIEWED, amount_minor=0)
    event = _event(people[0], source, discount_minor=7, quantity=3, line_count=2, category_mask=2**62 + 1)
    Event.objects.filter(pk=event.pk).update(occurred_at=moment)
    _event(people[0], source, days=9)
    frame = store.read_events(people, as_of=AS_OF, shop=shop)
    assert frame.schema == pl.Schema(EVENTS)
    assert frame["customer_id"].to_list() == [people[0], people[0], people[1]]
    assert frame.row(1)[:9] == (people[0], 1, moment, 1000, 7, 3, 2, 2**62 + 1, None)
    assert frame.row(2, named=True)["rating"] == 4.5


def test_a_range_and_a_list_of_ids_read_the_same(people, source, shop):
    for number, customer in enumerate(people):
        _event(customer, source, amount_minor=100 + number)
    wanted = [(customer, 100 + number) for number, customer in enumerate(people)]
    assert _amounts(people, shop) == wanted
    assert _amounts(IdRange(people[0], people[-1]), shop) == wanted
    assert _amounts(IdRange(people[1], people[2]), shop) == wanted[1:3]
    assert _amounts([people[3]], shop) == wanted[3:]
    assert _amounts([], shop) == []


def test_many_ids_at_once_are_no_problem(people, source, shop):
    _event(people[0], source)
    assert len(_amounts([*people, *range(10**6, 10**6 + 40_000)], shop)) == 1


def test_ids_close_together_read_no_more_than_was_asked(source, shop):
    rows = Customer.objects.bulk_create(Customer(reference=f"N{n}") for n in range(200))
    ids = [row.pk for row in rows]
    for key in ids:
        _event(key, source, amount_minor=key)
    Customer.objects.filter(pk=ids[9]).update(merged_into=ids[3])  # both asked for
    Customer.objects.filter(pk=ids[0]).update(merged_into=ids[5])  # only the survivor is asked for
    Customer.objects.filter(pk=ids[7]).update(merged_into=ids[0])  # only the merged one is asked for
    asked = [key for position, key in enumerate(ids) if position % 4]
    wanted = {key: key for key in asked} | {ids[3]: ids[3] + ids[9], ids[5]: ids[5] + ids[0]}
    del wanted[ids[7]], wanted[ids[9]]
    found = (
        store.read_events(asked, as_of=AS_OF, shop=shop).group_by("customer_id").agg(pl.sum("amount_minor"))
    )
    assert dict(found.rows()) == wanted
    assert set(store.read_customers(asked, as_of=AS_OF, shop=shop)["customer_id"]) == set(wanted)


def test_of_a_large_shop_a_stable_sample_is_read(people):
    rows = Customer.objects.bulk_create(Customer(reference=f"N{n}") for n in range(996))
    Customer.objects.filter(pk=rows[0].pk).update(merged_into=people[0])
    assert list(store.sampled_chunks(400, most=999, salt=1)) == list(store.customer_chunks(400))

    def sample(salt):
        return [key for chunk in store.sampled_chunks(50, most=300, salt=salt) for key in chunk]

    kept = sample(1)
    assert kept == sorted(set(kept)) == sample(1) != sample(2)
    assert 240 < len(kept) < 360
    Customer.objects.bulk_create(Customer(reference=f"Later{n}") for n in range(10))
    assert len(set(kept) & set(sample(1))) > len(kept) - 15


def test_events_on_the_day_itself_are_left_out_in_shop_time(people, source, shop):
    shop.time_zone = "America/New_York"
    _event(people[0], source, days=-3 / 24, amount_minor=1)  # 3:00 UTC on the day is the evening before
    _event(people[0], source, days=-4 / 24, amount_minor=2)  # local midnight
    assert _amounts(people, shop) == [(people[0], 1)]


def test_replaced_versions_are_left_out(people, source, shop):
    _event(people[0], source, source_key="o", amount_minor=1, superseded_at=T + timedelta(days=30))
    _event(people[0], source, source_key="o", source_version=1, amount_minor=2)
    assert _amounts(people, shop) == [(people[0], 2)]


def test_live_events_count_as_they_were_known(people, shop):
    live = EventSource.objects.create(slug="hook", live_since=T - timedelta(days=30))
    before, after = T - timedelta(hours=1), T + timedelta(hours=1)
    _event(people[0], live, source_key="o", amount_minor=1, received_at=before, superseded_at=after)
    _event(people[0], live, source_key="o", source_version=1, amount_minor=2, received_at=after)
    _event(people[1], live, source_key="late", amount_minor=4, received_at=after)
    assert _amounts(people, shop) == [(people[0], 1)]
    assert _amounts(people, shop, known_only=False) == [(people[0], 2), (people[1], 4)]


def test_history_that_a_live_source_brings_along_counts_whenever_it_came(people, shop):
    """A connection loads the orders of the last years: they are no news of the day on which they were loaded."""
    live = EventSource.objects.create(slug="hook", live_since=T - timedelta(days=30))
    later = T + timedelta(days=10)
    _event(people[0], live, days=31, source_key="before", amount_minor=1, received_at=later)
    _event(people[0], live, days=29, source_key="since", amount_minor=2, received_at=later)
    assert _amounts(people, shop) == [(people[0], 1)]
    EventSource.objects.filter(pk=live.pk).update(live_since=T + timedelta(days=1))
    assert _amounts(people, shop) == [(people[0], 1), (people[0], 2)]


def test_a_shop_whose_day_is_set_back_knows_what_it_received_since(people, shop):
    live = EventSource.objects.create(slug="hook", live_since=T - timedelta(days=30))
    _event(people[0], live, received_at=T + timedelta(days=10))
    assert _amounts(people, shop) == []
    shop.frozen_on = AS_OF
    assert len(_amounts(people, shop)) == 1


def test_a_file_read_later_counts_although_it_is_received_late(people, source, shop):
    _event(people[0], source, received_at=T + timedelta(days=400))
    assert len(_amounts(people, shop)) == 1


def test_merged_customers_are_read_as_the_survivor_and_split_again(people, source, shop):
    first, second, third, _ = people
    _event(first, source, days=9, amount_minor=1)
    _event(third, source, days=7, amount_minor=2)
    _event(first, source, days=5, amount_minor=4)
    Customer.objects.filter(pk=third).update(merged_into=first)
    whole = [(first, 1), (first, 2), (first, 4)]
    assert _amounts([first], shop) == whole
    assert _amounts(IdRange(first, first), shop) == whole
    assert _amounts(people, shop) == whole
    assert _amounts(IdRange(first, third), shop) == whole
    # Asked for alone, or in a range without its survivor, the merged one has nothing of its own.
    assert _amounts([third], shop) == []
    assert _amounts(IdRange(second, third), shop) == []
    Customer.objects.filter(pk=third).update(merged_into=None)
    assert _amounts([third], shop) == [(third, 2)]


def test_orders_are_tied_to_their_changes_by_key_across_a_merge(people, source, shop):
    first, second, *_ = people
    _event(second, source, days=9, order_key="A", amount_minor=5000)
    _event(second, source, days=8, order_key="B", amount_minor=700)
    _event(first, source, days=7, order_key="A", kind=EventKind.ORDER_CANCELLED, amount_minor=0)
    Customer.objects.filter(pk=second).update(merged_into=first)
    frame = store.read_events([first], as_of=AS_OF, shop=shop)
    a, b, cancelled = frame["order_hash"].to_list()
    assert a == cancelled != b
    found = compute(
        frame,
        AS_OF,
        ContextData(as_of=AS_OF),
        customers=store.read_customers([first], as_of=AS_OF, shop=shop),
    )
    assert found["spend_lifetime"].to_list() == [7.0]


def test_events_of_some_kinds_only(people, source, shop):
    _event(people[0], source, kind=EventKind.VIEWED)
    _event(people[0], source, amount_minor=6)
    assert _amounts(people, shop, kinds=(1, 2, 3)) == [(people[0], 6)]


def test_customers_are_survivors_with_their_profile(people, shop):
    Customer.objects.filter(pk=people[2]).update(merged_into=people[0])
    Customer.objects.filter(pk=people[3]).update(signed_up_at=None)
    frame = store.read_customers(people, as_of=AS_OF, shop=shop)
    assert dict(frame.schema) == CUSTOMERS
    assert frame["customer_id"].to_list() == [people[0], people[1], people[3]]
    assert frame.row(1) == (people[1], "GB", "web", T - timedelta(days=100, microseconds=1))
    assert frame["signed_up_at"][2] is None


def test_attributes_hold_what_was_valid_before_the_day(people, shop):
    kinds = {"score": "number", "plan": "choice", "vip": "boolean", "born": "date", "note": "text"}
    made = {
        slug: AttributeDefinition.objects.create(slug=slug, label=slug, kind=kind)
        for slug, kind in kinds.items()
    }

    def put(customer, slug, days, **value):
        AttributeValue.objects.create(
            customer_id=customer, definition=made[slug], valid_from=T - timedelta(days=days), **value
        )

    put(people[0], "score", 9, number=1.0)
    put(people[0], "score", 3, number=2.5)
    put(people[0], "score", 0, number=99)
    put(people[1], "plan", 9, text="gold")
    put(people[1], "vip", 9, number=0)
    put(people[1], "born", 9, number=365)
    put(people[2], "note", 2, text="from the merged one")
    put(people[0], "note", 4, text="older")
    Customer.objects.filter(pk=people[2]).update(merged_into=people[0])
    one, two, three = store.read_customers(people, as_of=AS_OF, shop=shop).iter_rows(named=True)
    assert (one["attribute.score"], one["attribute.plan"], one["attribute.note"]) == (
        2.5,
        None,
        "from the merged one",
    )
    assert (two["attribute.plan"], two["attribute.vip"]) == ("gold", False)
    assert two["attribute.born"] == datetime(1971, 1, 1, tzinfo=UTC)
    assert three["attribute.score"] is None


def test_chunks_hold_every_survivor_once(people):
    Customer.objects.filter(pk=people[1]).update(merged_into=people[0])
    chunks = list(store.customer_chunks(2))
    assert chunks == [IdRange(people[0], people[2]), IdRange(people[3], people[3])]


@pytest.fixture
def stored(shop) -> ShopContext:
    return context.for_date(AS_OF, shop)


def _write(people, shop, row, *, as_of=AS_OF, version=1) -> int:
    customers = store.read_customers(people, as_of=AS_OF, shop=shop)
    events = store.read_events(people, as_of=AS_OF, shop=shop)
    frame = compute(events, AS_OF, context.load(row), customers=customers)
    return store.write_features(
        frame, as_of=as_of, context=row, input_versions=pl.Series([version] * frame.height)
    )


def test_features_come_back_as_they_were_computed(people, source, shop, stored):
    _event(people[0], source)
    assert _write(people, shop, stored) == 4
    back = store.read_features(people)
    customers = store.read_customers(people, as_of=AS_OF, shop=shop)
    frame = compute(
        store.read_events(people, as_of=AS_OF, shop=shop), AS_OF, context.load(stored), customers=customers
    )
    assert_frame_equal(back.select(NUMERIC), frame.select(NUMERIC), check_exact=True)
    assert back.select("as_of", "input_version", "country").row(0) == (AS_OF, 1, "GB")
    assert_frame_equal(store.read_features(IdRange(people[0], people[-1])), back)


def test_a_write_lands_unless_something_newer_is_stored(people, shop, stored):
    _write(people[:2], shop, stored, version=5)
    _write(people[:1], shop, stored, version=6)
    assert _write(people[:2], shop, stored, version=5) == 1
    assert _write(people[:2], shop, stored, as_of=AS_OF - timedelta(days=1), version=9) == 0
    assert list(store.read_features(people)["input_version"]) == [6, 5]
    assert _write(people[:2], shop, stored, as_of=AS_OF + timedelta(days=1), version=1) == 2


def test_vectors_of_another_catalogue_are_not_read(people, shop, stored):
    _write(people, shop, stored)
    CustomerFeatures.objects.filter(customer_id=people[0]).update(catalogue_version="older")
    assert store.read_features(people)["customer_id"].to_list() == people[1:]
    assert store.read_features([people[0]]).columns == store.read_features(people).columns


def test_input_versions_of_survivors(people):
    Customer.objects.filter(pk=people[0]).update(input_version=7)
    Customer.objects.filter(pk=people[1]).update(merged_into=people[0])
    wanted = {people[0]: 7, people[2]: 0, people[3]: 0}
    assert store.input_versions(people) == wanted == store.input_versions(IdRange(people[0], people[3]))


def test_a_context_is_fitted_once_a_day(people, source, shop):
    _event(people[0], source)
    row = context.for_date(AS_OF, shop)
    assert (row.catalogue_version, context.load(row).orders) == (CATALOGUE_VERSION, 1)
    _event(people[1], source, days=50)
    assert context.for_date(AS_OF, shop) == row
    assert context.for_date(AS_OF + timedelta(days=1), shop) != row


def test_a_context_is_fitted_anew_when_older_events_came_in(people, source, shop):
    row = context.for_date(AS_OF, shop)
    assert context.for_date(AS_OF, shop, fresh=True) == row
    _event(people[0], source, days=-2)
    assert context.for_date(AS_OF, shop, fresh=True) == row
    _event(people[0], source, days=50)
    newer = context.for_date(AS_OF, shop, fresh=True)
    assert newer != row
    assert context.load(newer).orders == 1
    assert context.for_date(AS_OF, shop) == newer


def test_a_context_is_fitted_anew_when_another_column_becomes_a_feature(shop):
    row = context.for_date(AS_OF, shop)
    AttributeDefinition.objects.create(slug="plan", label="Plan", kind="choice", is_feature=True)
    AttributeDefinition.objects.create(slug="note", label="Note", kind="text", is_feature=True)
    newer = context.for_date(AS_OF, shop, fresh=True)
    assert newer != row
    assert context.load(newer).attributes == (("plan", "choice"),)


def test_a_context_some_days_old_may_do(shop):
    row = context.for_date(AS_OF, shop)
    later = AS_OF + timedelta(days=5)
    assert context.for_date(later, shop, max_age_days=7) == row
    assert context.for_date(AS_OF - timedelta(days=1), shop, max_age_days=7) != row
    assert context.for_date(later, shop, max_age_days=3).as_of == later


def test_the_numbers_of_a_shop_are_those_of_its_own_clock_and_currency(people, source, shop):
    shop.time_zone, shop.base_currency = "Asia/Tokyo", "JPY"
    _event(people[0], source, amount_minor=800)
    data = context.load(context.for_date(AS_OF, shop))
    assert (data.time_zone, data.minor_per_major, data.tier_cuts) == ("Asia/Tokyo", 1, (800, 800))
