"""Training rows from the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from segmentation import targets, training_frames
from segmentation.features import context, store
from segmentation.features.compute import compute
from segmentation.kinds import EventKind
from segmentation.models import AttributeDefinition, AttributeValue, Customer, Event, EventSource, Target
from segmentation.training_frames import SPEND

pytestmark = pytest.mark.django_db
FIRST, SECOND = date(2024, 1, 1), date(2024, 3, 31)


@pytest.fixture
def behaviour() -> list[Target]:
    return targets.install()


@pytest.fixture
def people() -> list[Customer]:
    return Customer.objects.bulk_create(Customer(reference=f"C{n}", country="GB") for n in range(3))


@pytest.fixture
def buy():
    source = EventSource.objects.create(slug="file")

    def add(
        customer: Customer, day: date, pounds: int = 10, source: EventSource = source, **columns
    ) -> Event:
        moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        return Event.objects.create(
            customer=customer, kind=EventKind.ORDER_PLACED, occurred_at=moment, source=source,
            source_key=f"k{Event.objects.count()}", amount_minor=pounds * 100, **columns,
        )  # fmt: skip

    return add


def _frame(shop, behaviour, **options):
    return training_frames.training_frame([SECOND, FIRST], shop=shop, targets=behaviour, **options)


def test_a_row_is_a_customer_at_a_cutoff_with_what_came_after(people, buy, shop, behaviour):
    one, two, _never = people
    buy(one, date(2023, 12, 1), 5)
    buy(one, date(2024, 2, 1), 7)
    buy(two, date(2024, 1, 1), 3)
    frame = _frame(shop, behaviour)
    rows = list(zip(frame.ids.tolist(), frame.cutoffs.astype(str), frame.labels[SPEND].tolist(), strict=True))
    assert rows == [(one.pk, str(FIRST), 7.0), (one.pk, str(SECOND), 0.0), (two.pk, str(SECOND), 0.0)]
    assert frame.labels["churn"].tolist() == [0, 1, 1]
    assert frame.labels["future_value"].tolist() == [7, 0, 0]
    assert frame.labels["value_tier"].tolist()[1:] == [0, 0]
    assert frame.x["spend_lifetime"].to_list() == [5, 12, 3]
    assert frame.x["recency_days"].to_list() == [31, 59, 90]
    assert "customer_id" not in frame.x.columns


def test_an_event_after_a_cutoff_moves_no_feature_of_it(people, buy, shop, behaviour):
    buy(people[0], date(2023, 12, 1), 5)
    before = _frame(shop, behaviour)
    buy(people[0], date(2024, 1, 2), 1000)
    buy(people[1], date(2024, 1, 3), 1000)
    after = _frame(shop, behaviour)
    first = after.take(after.cutoffs == np.datetime64(FIRST))
    assert first.x.equals(before.take(before.cutoffs == np.datetime64(FIRST)).x)
    assert first.labels[SPEND].tolist() == [1000]


def test_who_may_not_be_profiled_is_not_learned_from(people, buy, shop, behaviour):
    for person in people[:2]:
        buy(person, date(2023, 12, 1))
    Customer.objects.filter(pk=people[0].pk).update(is_profiled=False)
    assert set(_frame(shop, behaviour).ids.tolist()) == {people[1].pk}


def test_chunks_of_customers_give_the_same_rows(people, buy, shop, behaviour, monkeypatch):
    for number, person in enumerate(people):
        buy(person, date(2023, 11, 1) + timedelta(days=number), 10 + number)
    whole, seen = _frame(shop, behaviour), []
    monkeypatch.setattr(training_frames, "CHUNK", 1)
    pieces = _frame(shop, behaviour, on_chunk=seen.append)
    assert pieces.x.equals(whole.x)
    assert training_frames.snapshot(pieces) == training_frames.snapshot(whole)
    assert len(seen) == 3


def test_of_a_large_shop_whole_customers_of_a_stable_sample_are_read(buy, shop, behaviour, monkeypatch):
    people = Customer.objects.bulk_create(Customer(reference=f"N{n}") for n in range(40))
    for number, person in enumerate(people):
        buy(person, date(2023, 11, 1), 10 + number)
    whole = _frame(shop, behaviour)
    monkeypatch.setattr(training_frames, "MOST_CUSTOMERS", 20)
    some = _frame(shop, behaviour)
    kept = np.isin(whole.ids, some.ids)
    assert 5 < len(set(some.ids.tolist())) < 35
    assert some.x.equals(whole.take(kept).x)
    assert training_frames.snapshot(_frame(shop, behaviour)) == training_frames.snapshot(some)


def test_training_sees_what_scoring_saw_on_the_day_and_labels_what_came_out_later(
    people, buy, shop, behaviour
):
    """An order told late and one corrected afterwards: neither was known when the day's scores were made."""
    live = EventSource.objects.create(slug="hook", live_since=datetime(2023, 11, 1, tzinfo=UTC))
    on_time, late = datetime(2023, 12, 2, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    known = buy(people[0], date(2023, 12, 1), 5, source=live, received_at=on_time)
    seen = _scored_features(people[:1], shop)
    Event.objects.filter(pk=known.pk).update(superseded_at=late)
    buy(people[0], date(2023, 12, 1), 6, source=live, received_at=late, source_version=1)
    buy(people[0], date(2023, 12, 20), 7, source=live, received_at=late)
    buy(people[0], date(2024, 1, 15), 8, source=live, received_at=late)
    frame = _frame(shop, behaviour)
    first = frame.take(frame.cutoffs == np.datetime64(FIRST))
    assert first.x.equals(seen)
    assert first.labels[SPEND].tolist() == [8]
    assert frame.x["spend_lifetime"].to_list() == [5, 21]


def _scored_features(people, shop):
    """The features that a scoring as of the first cutoff works with."""
    data = context.load(context.for_date(FIRST, shop, fresh=True))
    keys = [person.pk for person in people]
    events = store.read_events(keys, as_of=FIRST, shop=shop)
    customers = store.read_customers(keys, as_of=FIRST, shop=shop)
    return compute(events, FIRST, data, customers=customers).drop("customer_id")


def test_history_loaded_by_a_live_source_is_learned_from(people, buy, shop, behaviour):
    """A connection of today brings the orders of last year: training must not find the shop empty."""
    connected = datetime(2024, 8, 1, tzinfo=UTC)
    live = EventSource.objects.create(slug="hook", live_since=connected)
    buy(people[0], date(2023, 12, 1), 5, source=live, received_at=connected)
    assert _frame(shop, behaviour).x["spend_lifetime"].to_list() == [5, 5]


def test_the_shops_numbers_of_a_cutoff_are_fitted_on_what_was_known_before_it(people, buy, shop, behaviour):
    live = EventSource.objects.create(slug="hook", live_since=datetime(2023, 11, 1, tzinfo=UTC))
    buy(people[0], date(2023, 12, 1), 5)
    _frame(shop, behaviour)
    before = context.load(context.for_date(FIRST, shop))
    buy(people[1], date(2024, 1, 2), 1000)
    buy(people[1], date(2023, 12, 2), 1000, source=live, received_at=datetime(2024, 2, 1, tzinfo=UTC))
    _frame(shop, behaviour)
    after = context.load(context.for_date(FIRST, shop))
    assert after.last_event_id > before.last_event_id, "the stored numbers were looked at again"
    assert replace(after, last_event_id=0) == replace(before, last_event_id=0)
    assert (after.orders, context.load(context.for_date(SECOND, shop)).orders) == (1, 3)


def test_tiers_can_be_cut_on_training_rows_alone(people, buy, shop, behaviour):
    for number, person in enumerate(people):
        buy(person, date(2023, 12, 1))
        buy(person, date(2024, 2, 1), 10 * (number + 1))
    frame = _frame(shop, behaviour)
    recut = training_frames.with_tiers(frame, (15.0, 25.0))
    assert recut.labels["value_tier"].tolist() == [1, 2, 3, 0, 0, 0]


def test_a_snapshot_changes_with_any_value(people, buy, shop, behaviour):
    event = buy(people[0], date(2023, 12, 1))
    before = training_frames.snapshot(_frame(shop, behaviour))
    assert (before["rows"], before["customers"]) == (2, 1)
    assert before["cutoffs"] == {str(FIRST): 1, str(SECOND): 1}
    Event.objects.filter(pk=event.pk).update(amount_minor=1001)
    assert training_frames.snapshot(_frame(shop, behaviour))["sha256"] != before["sha256"]


def test_no_orders_give_no_rows(shop, behaviour):
    assert len(_frame(shop, behaviour)) == 0
    assert training_frames.default_cutoffs(as_of=SECOND, shop=shop, horizon_days=90) == ()


def test_no_cutoff_lies_where_behaviour_was_pruned(people, buy, shop, settings):
    """A year that was deleted would read as a year without interest."""
    today = shop.today()
    for years in range(5):
        buy(people[0], today - timedelta(days=365 * years + 1), 5)
    every = training_frames.default_cutoffs(as_of=today, shop=shop, horizon_days=90)
    settings.EVENT_DAYS = 800
    kept = training_frames.default_cutoffs(as_of=today, shop=shop, horizon_days=90)
    assert min(kept) >= today - timedelta(days=800 - 365) > min(every)
    assert set(kept) < set(every)


def test_default_cutoffs_end_with_the_data(people, buy, shop):
    buy(people[0], date(2023, 1, 1))
    buy(people[0], date(2023, 12, 31))
    chosen = training_frames.default_cutoffs(as_of=date(2025, 1, 1), shop=shop, horizon_days=90)
    assert chosen[-1] == date(2024, 1, 1) - timedelta(days=90)
    assert len(chosen) == 3


def test_targets_of_two_horizons_cannot_share_rows(shop, behaviour):
    behaviour[0].horizon_days = 30
    with pytest.raises(ValueError, match="one horizon"):
        _frame(shop, behaviour)


@pytest.fixture
def category(people) -> Target:
    kind = AttributeDefinition.objects.create(
        slug="kind", label="Kind", kind="choice", is_feature=True, is_label=True
    )
    age = AttributeDefinition.objects.create(slug="age", label="Age", kind="number", is_feature=True)
    for person, (text, number) in zip(people, [("b", 30), ("a", 40), (None, 50)], strict=True):
        start = datetime(2024, 1, 1, tzinfo=UTC)
        AttributeValue.objects.create(customer=person, definition=age, valid_from=start, number=number)
        if text:
            AttributeValue.objects.create(customer=person, definition=kind, valid_from=start, text=text)
    return Target.objects.create(slug="kind", name="Kind", kind=Target.Kind.CATEGORY, attribute=kind)


def test_a_labelled_table_without_events_can_be_learned_from(people, category, shop):
    frame = training_frames.category_frame(category, as_of=SECOND, shop=shop)
    assert frame.ids.tolist() == [people[0].pk, people[1].pk]
    assert frame.labels["kind"].tolist() == [1, 0]
    assert frame.x["attribute.age"].to_list() == [30, 40]
    assert "attribute.kind" not in frame.x.columns
    assert training_frames.observed_classes(category, as_of=SECOND) == ("a", "b")


def test_labels_given_later_are_not_known(category, shop):
    day = date(2023, 12, 31)
    assert len(training_frames.category_frame(category, as_of=day, shop=shop)) == 0
    assert training_frames.observed_classes(category, as_of=day) == ()


def test_yes_and_no_are_classes(people, category, shop):
    vip = AttributeDefinition.objects.create(slug="vip", label="VIP", kind="boolean", is_label=True)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for person, number in zip(people, (1, 0, 1), strict=True):
        AttributeValue.objects.create(customer=person, definition=vip, valid_from=start, number=number)
    category.attribute = vip
    frame = training_frames.category_frame(category, as_of=SECOND, shop=shop)
    assert frame.labels["kind"].tolist() == [1, 0, 1]
