"""Questions about events: every filter and measure at its edges, and all of them against a slow reference."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.features.frames import events_frame
from segmentation.kinds import EventKind
from segmentation.models import Product
from segmentation.rules import language
from segmentation.rules.errors import RuleError
from segmentation.rules.event_products import LINES
from segmentation.rules.events import Measure, spec_of
from segmentation.rules.fields import CATEGORY, Choice, RuleField, derived
from segmentation.rules.measures import Setting, asks_lines, columns, dtype_of
from segmentation.rules.operators import FieldType
from tests.segmentation.rules.event_reference import measure
from tests.segmentation.rules.frames import FIELDS

AS_OF = date(2024, 3, 2)
TODAY = date(2024, 3, 1)
LONDON = ZoneInfo("Europe/London")
BITS = {"toys": 0, "games": 1, "books": 62}
ORDERED, VIEWED = "order_placed", "viewed"


def event(kind=ORDERED, at=datetime(2024, 3, 1, 12, tzinfo=UTC), customer=1, **more):
    usual = {"amount_minor": 2500 if kind == ORDERED else 0}
    return {
        "customer_id": customer,
        "kind": int(EventKind.from_slug(kind)),
        "occurred_at": at,
        **usual,
        **more,
    }


def ago(days, hour=12):
    return datetime(2024, 3, 1, hour, tzinfo=UTC) - timedelta(days=days)


def query_of(spec):
    node = language.parse({"event": spec, "op": "is_not_empty"}, fields={})
    assert isinstance(node, language.Condition)
    return node.field.query


def found(spec, *events, as_of=AS_OF, zone=LONDON, ids=(1,), lines=()):
    setting = Setting(as_of, zone, 100, BITS, pl.DataFrame(list(lines), schema=LINES))
    [column] = columns(
        [query_of(spec)],
        events_frame(list(events)),
        ids=pl.Series(list(ids), dtype=pl.Int64),
        setting=setting,
    )
    return column.to_list() if len(ids) > 1 else column.to_list()[0]


def test_who_did_nothing_has_a_count_of_nought_and_no_first_day():
    nothing = {measure: found({"kind": ORDERED, "measure": measure}) for measure in Measure}
    assert nothing == {
        "count": 0, "days": 0, "amount": 0, "first": None, "last": None, "last_amount": None, "last_category": None,
    }  # fmt: skip


def test_ordered_at_least_twice_from_toys_over_20_within_30_days():
    spec = {"kind": ORDERED, "category": ["toys"], "amount": {"op": ">", "value": 20}, "within_days": 30}
    fits = event(at=ago(29), category_mask=1)
    others = [
        event(at=ago(30), category_mask=1),
        event(at=ago(1), category_mask=2),
        event(at=ago(1), category_mask=1, amount_minor=2000),
        event(VIEWED, at=ago(1), category_mask=1),
    ]
    assert found(spec, fits, event(category_mask=3), *others) == 2


@pytest.mark.parametrize(("days", "counts"), [(0, 1), (6, 1), (7, 0)])
def test_the_last_seven_days_are_today_and_six_before(days, counts):
    assert found({"kind": ORDERED, "within_days": 7}, event(at=ago(days))) == counts
    assert found({"kind": ORDERED, "older_than_days": 6}, event(at=ago(days))) == 1 - counts


def test_a_day_is_a_day_of_the_shop_on_both_sides_of_a_change_of_clocks():
    """In London the clocks went forward on 31 March 2024: its midnight is 00:00 UTC, the next one 23:00 UTC."""
    spec = {"kind": ORDERED, "from": "2024-04-01", "to": "2024-04-01"}
    before, first = datetime(2024, 3, 31, 22, 59, tzinfo=UTC), datetime(2024, 3, 31, 23, tzinfo=UTC)
    last, after = datetime(2024, 4, 1, 22, 59, tzinfo=UTC), datetime(2024, 4, 1, 23, tzinfo=UTC)
    for at, inside in ((before, 0), (first, 1), (last, 1), (after, 0)):
        assert found(spec, event(at=at), as_of=date(2024, 5, 1)) == inside, at
    sydney = ZoneInfo("Australia/Sydney")
    assert (
        found(spec, event(at=datetime(2024, 3, 31, 14, tzinfo=UTC)), as_of=date(2024, 5, 1), zone=sydney) == 1
    )


def test_first_and_last_day_amounts_and_categories():
    events = [
        event(at=ago(40), amount_minor=1000, category_mask=1),
        event(at=ago(2, 8), amount_minor=199, category_mask=0),
        event(at=ago(2, 9), amount_minor=1999, category_mask=2 | 1 << 62),
    ]
    asked = {name: found({"kind": ORDERED, "measure": name}, *events) for name in Measure}
    assert asked == {
        "count": 3,
        "days": 2,
        "amount": 31.98,
        "first": date(2024, 1, 21),
        "last": date(2024, 2, 28),
        "last_amount": 19.99,
        "last_category": ["books", "games"],
    }
    assert found({"kind": ORDERED, "amount": {"op": "=", "value": 19.99}}, *events) == 1
    assert found({"kind": ORDERED, "measure": "last_category"}, events[1]) == []


def test_viewed_but_did_not_order():
    spec = {"kind": VIEWED, "not_followed_by": {"kind": ORDERED}}
    seen, seen_again = event(VIEWED, at=ago(3)), event(VIEWED, at=ago(1))
    bought = event(at=ago(2))
    assert found(spec, seen, bought) == 0
    assert found(spec, seen, bought, seen_again) == 1
    assert found({"kind": VIEWED, "followed_by": {"kind": ORDERED}}, seen, bought, seen_again) == 1
    toys = {"kind": VIEWED, "not_followed_by": {"kind": ORDERED, "category": ["toys"]}}
    assert found(toys, seen, bought) == 1


def test_an_order_counts_in_its_newest_version_and_a_cancelled_one_does_not():
    placed = event(at=ago(5), order_hash=7)
    changed = event("order_changed", at=ago(4), amount_minor=100, order_hash=7) | {"kind": 2}
    gone = event("order_cancelled", at=ago(3), order_hash=7)
    assert found({"kind": ORDERED, "measure": "amount"}, placed, changed) == 1
    assert found({"kind": ORDERED}, placed, gone) == 0
    assert found({"kind": "order_cancelled"}, placed, gone) == 1


def test_ratings_discounts_and_several_kinds():
    events = [
        event("reviewed", rating=2.0), event("reviewed", rating=None), event("complained"),
        event(discount_minor=5), event(),
    ]  # fmt: skip
    assert found({"kind": "reviewed", "rating": {"op": "<=", "value": 2}}, *events) == 1
    assert found({"kind": ["reviewed", "complained"]}, *events) == 3
    assert found({"kind": ORDERED, "discounted": True}, *events) == 1
    assert found({"kind": ORDERED, "discounted": False}, *events) == 1


def line(event_id, product="A17", name="Teddy Bear", category="toys", quantity=1, amount_minor=2500):
    return {
        "event_id": event_id, "product": product, "name": name, "category": category,
        "quantity": quantity, "amount_minor": amount_minor,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("product", "counts"),
    [
        ({"id": ["A17"]}, 1),
        ({"id": ["a17"]}, 0),
        ({"name": {"op": "contains", "value": "BEAR"}}, 1),
        ({"name": {"op": "contains", "value": "b.ar"}}, 0),
        ({"name": {"op": "is", "value": "teddy bear"}}, 1),
        ({"name": {"op": "is", "value": "teddy"}}, 0),
        ({"name": {"op": "starts_with", "value": "ted"}}, 1),
        ({"name": {"op": "starts_with", "value": "bear"}}, 0),
        ({"category": ["books", "toys"]}, 1),
        ({"category": ["games"]}, 0),
        ({"price": {"op": "=", "value": 12.5}}, 1),
        ({"price": {"op": ">", "value": 12.5}}, 0),
        ({"quantity": {"op": ">=", "value": 2}}, 1),
        ({"id": ["A17"], "quantity": {"op": "<", "value": 2}}, 0),
        # The bear is a toy, the book is not: no single line is both.
        ({"id": ["A17"], "category": ["books"]}, 0),
        ({"id": ["B1"], "category": ["books"]}, 1),
    ],
)
def test_a_product_is_asked_of_one_line(product, counts):
    lines = [line(5, quantity=2), line(5, "B1", "Bees", "books", amount_minor=300), line(6, "Z")]
    bought = event(event_id=5, amount_minor=2800)
    assert (
        found({"kind": ORDERED, "product": product}, bought, event(VIEWED, event_id=6), lines=lines) == counts
    )


def test_a_third_of_a_price_is_compared_in_whole_amounts():
    """Three pieces for 10.00 cost a little more than 3.33 and a little less than 3.34 each."""
    lines = [line(5, quantity=3, amount_minor=1000)]
    for op, value, counts in ((">", 3.33, 1), ("<", 3.34, 1), ("=", 3.33, 0)):
        spec = {"kind": ORDERED, "product": {"price": {"op": op, "value": value}}}
        assert found(spec, event(event_id=5), lines=lines) == counts, (op, value)


def test_an_order_holds_the_products_of_its_newest_version():
    placed = event(at=ago(5), order_hash=7, event_id=1)
    changed = event("order_changed", at=ago(4), amount_minor=100, order_hash=7, event_id=2)
    lines = [line(1, "A17"), line(2, "B1", name="")]
    asked = {
        name: found({"kind": ORDERED, "product": {"id": [name]}}, placed, changed, lines=lines)
        for name in ("A17", "B1")
    }
    assert asked == {"A17": 0, "B1": 1}


def test_only_the_lines_that_are_asked_for_are_read():
    numbers = query_of({"kind": ORDERED, "product": {"id": ["A17"]}})
    named = query_of(
        {"kind": VIEWED, "followed_by": {"kind": "cart_added", "product": {"price": {"op": ">", "value": 1}}}}
    )
    assert asks_lines([query_of({"kind": ORDERED})]) == ([], frozenset())
    assert asks_lines([numbers]) == ([1, 2], {"A17"})
    assert asks_lines([numbers, named]) == ([1, 2, int(EventKind.CART_ADDED)], None)


def test_each_customer_gets_their_own_answer_in_the_order_that_was_asked_for():
    events = [event(customer=1), event(customer=3), event(customer=3), event(customer=9)]
    assert found({"kind": ORDERED}, *events, ids=(3, 1, 2)) == [2, 1, 0]
    assert found({"kind": ORDERED, "measure": "last"}, *events, ids=(3, 1, 2)) == [TODAY, TODAY, None]


def test_a_name_holds_its_whole_question():
    query = query_of({"kind": ORDERED, "category": ["Spielzeug für Kinder"], "within_days": 3})
    assert query_of(spec_of(query.name)) == query
    assert derived(query.name).query == query
    assert derived("event.{") is derived("event.[]") is derived("random.NO") is None


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        (5, "event", "Expected an object"),
        ({}, "event.kind", "Say what the customer did"),
        ({"kind": []}, "event.kind", "Say what"),
        ({"kind": ["order_placed", "slept"]}, "event.kind[1]", "no kind of event called “slept”"),
        ({"kind": ORDERED, "color": 1}, "event", "no “color”"),
        ({"kind": ORDERED, "category": ["Toys"]}, "event.category[0]", "no product category called “Toys”"),
        ({"kind": ORDERED, "category": []}, "event.category", "at least one"),
        ({"kind": ORDERED, "product": "A17"}, "event.product", "Expected an object"),
        ({"kind": ORDERED, "product": {}}, "event.product", "Say which product"),
        ({"kind": ORDERED, "product": {"colour": "red"}}, "event.product", "no “colour”"),
        ({"kind": ORDERED, "product": {"id": []}}, "event.product.id", "at least one"),
        ({"kind": ORDERED, "product": {"id": ["A17", 5]}}, "event.product.id[1]", "Expected a text"),
        ({"kind": ORDERED, "product": {"id": ["x" * 201]}}, "event.product.id[0]", "longer than"),
        ({"kind": ORDERED, "product": {"name": "bear"}}, "event.product.name", "“op” and “value”"),
        (
            {"kind": ORDERED, "product": {"name": {"op": "~", "value": "x"}}},
            "event.product.name.op",
            "Use one",
        ),
        (
            {"kind": ORDERED, "product": {"name": {"op": [], "value": "x"}}},
            "event.product.name.op",
            "Use one",
        ),
        (
            {"kind": ORDERED, "product": {"name": {"op": "is", "value": ""}}},
            "event.product.name.value",
            "a text",
        ),
        (
            {"kind": ORDERED, "product": {"name": {"op": "is", "value": "\x00"}}},
            "event.product.name.value",
            "stored",
        ),
        ({"kind": ORDERED, "product": {"category": ["Toys"]}}, "event.product.category[0]", "“Toys”"),
        (
            {"kind": ORDERED, "product": {"price": {"op": ">", "value": "9"}}},
            "event.product.price.value",
            "a number",
        ),
        (
            {"kind": VIEWED, "followed_by": {"kind": VIEWED, "product": {}}},
            "event.followed_by.product",
            "Say which",
        ),
        ({"kind": ORDERED, "amount": 3}, "event.amount", "“op” and “value”"),
        ({"kind": ORDERED, "amount": {"op": "~", "value": 3}}, "event.amount.op", "Use one of"),
        ({"kind": ORDERED, "amount": {"op": ">", "value": "3"}}, "event.amount.value", "Expected a number"),
        ({"kind": ORDERED, "within_days": 1.5}, "event.within_days", "whole number"),
        ({"kind": ORDERED, "within_days": 3, "older_than_days": 3}, "event.older_than_days", "No day is"),
        ({"kind": ORDERED, "from": "2024-02-30"}, "event.from", "Expected a date"),
        ({"kind": ORDERED, "from": "2024-02-02", "to": "2024-02-01"}, "event.to", "before the first"),
        ({"kind": ORDERED, "discounted": 1}, "event.discounted", "true or false"),
        ({"kind": ORDERED, "measure": "best"}, "event.measure", "no measure called “best”"),
        ({"kind": ORDERED, "measure": []}, "event.measure", "no measure"),
        ({"kind": VIEWED, "not_followed_by": {"kind": "x"}}, "event.not_followed_by.kind[0]", "“x”"),
        (
            {"kind": VIEWED, "followed_by": {"kind": VIEWED, "from": "2024-01-01"}},
            "event.followed_by",
            "no “from”",
        ),
    ],
)
def test_an_error_in_a_question_names_its_node(spec, path, words):
    known = {CATEGORY: RuleField(CATEGORY, "Category", FieldType.TAGS, choices=(Choice("toys", "toys"),))}
    with pytest.raises(RuleError) as caught:
        language.parse({"all": [{"event": spec, "op": ">=", "value": 1}]}, fields=known)
    assert (caught.value.path, words in caught.value.message) == (f"all[0].{path}", True), caught.value


@pytest.mark.django_db
def test_a_product_that_the_shop_does_not_have_is_refused_at_its_number():
    Product.objects.create(external_id="A17", name="Teddy bear")
    rule = {"event": {"kind": ORDERED, "product": {"id": ["A17", "A18"]}}, "op": ">=", "value": 1}
    with pytest.raises(RuleError) as caught:
        language.parse(rule)
    assert (caught.value.path, "“A18”" in caught.value.message) == ("event.product.id[1]", True)
    rule["event"]["product"] = {
        "id": ["A17"],
        "price": {"op": "<", "value": 20},
        "quantity": {"op": ">=", "value": 2},
    }
    assert language.sentence(language.parse(rule)) == (
        "at least 1 time: ordered, product Teddy bear (A17), at a price below 20.00 GBP, in a quantity of at least 2"
    )
    rule["event"]["product"] = {"name": {"op": "contains", "value": "bear"}}
    assert (
        language.sentence(language.parse(rule))
        == "at least 1 time: ordered, a product with “bear” in its name"
    )


@pytest.mark.django_db
def test_a_question_reads_as_a_sentence():
    spec = {"kind": ORDERED, "category": ["toys"], "amount": {"op": ">", "value": 20}, "within_days": 30}
    rule = {"all": [{"event": spec, "op": ">=", "value": 2}, FIRST, UNBOUGHT]}
    assert language.sentence(language.parse(rule, fields=FIELDS)) == (
        "at least 2 times: ordered, from toys, over 20.00 GBP, within the last 30 days and First day of “ordered”"
        " is from Jan. 1, 2024 to Feb. 1, 2024 and at least 1 time: looked at a product, and not then ordered"
    )


FIRST = {
    "event": {"kind": ORDERED, "measure": "first"}, "op": "between", "value": ["2024-01-01", "2024-02-01"],
}  # fmt: skip
UNBOUGHT = {"event": {"kind": VIEWED, "not_followed_by": {"kind": ORDERED}}, "op": ">=", "value": 1}

KINDS = [ORDERED, VIEWED, "reviewed", "refunded", "order_cancelled"]
COMPARISONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["=", ">", ">=", "<", "<="]), "value": st.sampled_from([0, 1, 2.5, 19.99, 25])}
)
NAMES = ["", "Teddy bear", "BEAR hug", "Ünder", "ü"]
PRODUCTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.lists(st.sampled_from(["A", "B"]), min_size=1, max_size=2, unique=True),
        "name": st.fixed_dictionaries(
            {
                "op": st.sampled_from(["is", "contains", "starts_with"]),
                "value": st.sampled_from(["bear", "teddy BEAR", "Ü"]),
            }
        ),
        "category": st.lists(st.sampled_from(list(BITS)), min_size=1, max_size=2, unique=True),
        "price": COMPARISONS,
        "quantity": COMPARISONS,
    },
).filter(bool)
PICKED = st.fixed_dictionaries(
    {"kind": st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True)},
    optional={
        "category": st.lists(st.sampled_from(list(BITS)), min_size=1, max_size=2, unique=True),
        "amount": COMPARISONS,
        "rating": COMPARISONS,
        "discounted": st.booleans(),
        "product": PRODUCTS,
    },
)
DAYS_NEAR = st.dates(TODAY - timedelta(days=8), TODAY + timedelta(days=2)).map(date.isoformat)
SPECS = st.builds(
    lambda picked, when, follow, what: {**picked, **when, **follow, "measure": what},
    PICKED,
    st.one_of(
        st.just({}),
        st.fixed_dictionaries(
            {}, optional={"within_days": st.integers(4, 9), "older_than_days": st.integers(0, 3)}
        ),
        st.builds(
            lambda days: dict(zip(("from", "to"), sorted(days), strict=True)), st.tuples(DAYS_NEAR, DAYS_NEAR)
        ),
    ),
    st.one_of(
        st.just({}), st.fixed_dictionaries({}, optional={"followed_by": PICKED, "not_followed_by": PICKED})
    ),
    st.sampled_from(list(Measure)),
)
EVENTS = st.fixed_dictionaries(
    {
        "customer_id": st.integers(1, 3),
        "kind": st.sampled_from([int(EventKind.from_slug(kind)) for kind in [*KINDS, "order_changed"]]),
        "occurred_at": st.integers(-27, 4).map(lambda n: datetime(2024, 3, 1, tzinfo=UTC) + timedelta(hours=8 * n)),
        "amount_minor": st.sampled_from([-1999, 0, 100, 250, 1999, 2500]),
        "discount_minor": st.sampled_from([0, 5]),
        "category_mask": st.sampled_from([0, 1, 2, 3, 1 << 62]),
        "rating": st.sampled_from([None, 1.0, 2.5, 5.0]),
        "order_hash": st.sampled_from([0, 7, 8]),
        "event_id": st.integers(1, 6),
    }
)  # fmt: skip
LINE = st.fixed_dictionaries(
    {
        "event_id": st.integers(1, 6),
        "product": st.sampled_from(["A", "B", "C"]),
        "name": st.sampled_from(NAMES),
        "category": st.sampled_from([None, *BITS]),
        "quantity": st.sampled_from([-1, 0, 1, 2, 3]),
        "amount_minor": st.sampled_from([-1999, 0, 100, 250, 1999, 3998, 5997]),
    }
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(spec=SPECS, events=st.lists(EVENTS, max_size=12), lines=st.lists(LINE, max_size=6))
def test_every_question_agrees_with_the_slow_reference(spec, events, lines):
    query = query_of(spec)
    frame = events_frame(events) if events else events_frame([event(customer=99)])
    setting = Setting(AS_OF, LONDON, 100, BITS, pl.DataFrame(lines, schema=LINES))
    [column] = columns([query], frame, ids=pl.Series([2, 1]), setting=setting)
    rows = frame.to_dicts()
    assert column.dtype == dtype_of(query)
    assert column.to_list() == [
        measure(spec, [row for row in rows if row["customer_id"] == who], AS_OF, LONDON, BITS, lines)
        for who in (2, 1)
    ]
