"""Rules on a whole frame and on one customer answer alike, operator by operator, missing values included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.rules import compile as compiled
from segmentation.rules.explain import explain
from segmentation.rules.language import parse, to_json
from segmentation.rules.operators import OPERATORS, FieldType, ValueShape
from segmentation.rules.periods import PERIODS
from segmentation.rules.text import from_text, to_text
from tests.segmentation.rules.frames import CATEGORIES, FIELDS
from tests.segmentation.rules.reference import fits

TODAY = date(2024, 3, 1)
SCHEMA = {
    "feature.orders_90d": pl.Float64,
    "score.churn": pl.Float64,
    "customer.country": pl.String,
    "score.value_tier.label": pl.String,
    "attribute.vip": pl.Boolean,
    "attribute.birthday": pl.Date,
    "segment.loyal": pl.Boolean,
    CATEGORIES.name: pl.List(pl.String),
}
EMPTY = dict.fromkeys(SCHEMA)

# (field, operator, value, a value that fits, one that does not): the golden customers.
GOLDEN = [
    ("feature.orders_90d", "=", 3, 3.0, 3.5),
    ("feature.orders_90d", "!=", 3, 2.0, 3.0),
    ("feature.orders_90d", ">", 3, 3.1, 3.0),
    ("feature.orders_90d", ">=", 3, 3.0, 2.9),
    ("feature.orders_90d", "<", 3, 2.9, 3.0),
    ("feature.orders_90d", "<=", 3, 3.0, 3.1),
    ("feature.orders_90d", "between", [1, 3], 3.0, 3.1),
    ("feature.orders_90d", "is_empty", None, float("nan"), 0.0),
    ("feature.orders_90d", "is_not_empty", None, 0.0, float("nan")),
    ("feature.orders_90d", "not_between", [1, 3], 3.1, 3.0),
    ("feature.orders_90d", "in", [1, 3], 3.0, 2.0),
    ("feature.orders_90d", "not_in", [1, 3], 2.0, 3.0),
    ("customer.country", "is", "france", "France", "Spain"),
    ("customer.country", "is_not", "France", "Spain", "FRANCE"),
    ("customer.country", "in", ["France", "Spain"], "spain", "Italy"),
    ("customer.country", "not_in", ["France", "Spain"], "Italy", "spain"),
    ("customer.country", "contains", "RAN", "France", "Spain"),
    ("customer.country", "not_contains", "ran", "Spain", "FRANCE"),
    ("customer.country", "starts_with", "fr", "France", "Afrance"),
    ("customer.country", "ends_with", "CE", "France", "Spain"),
    ("customer.country", "matches", "^f.*E$", "France", "xFrance"),
    ("customer.country", "not_matches", "^f", "Spain", "France"),
    ("customer.country", "is_empty", None, "", "France"),
    ("customer.country", "is_not_empty", None, "France", ""),
    ("score.value_tier.label", "is", "high", "high", "HIGH"),
    ("score.value_tier.label", "is_not", "high", "low", "high"),
    ("score.value_tier.label", "in", ["high"], "high", "low"),
    ("score.value_tier.label", "not_in", ["high"], "low", "high"),
    ("score.value_tier.label", "is_empty", None, None, "low"),
    ("score.value_tier.label", "is_not_empty", None, "low", None),
    ("attribute.vip", "is", True, True, False),
    ("attribute.vip", "is", False, False, True),
    ("attribute.vip", "is_empty", None, None, False),
    ("attribute.vip", "is_not_empty", None, False, None),
    ("attribute.birthday", "on", "2024-02-29", date(2024, 2, 29), date(2024, 3, 1)),
    ("attribute.birthday", "before", "2024-02-29", date(2024, 2, 28), date(2024, 2, 29)),
    ("attribute.birthday", "after", "2024-02-29", date(2024, 3, 1), date(2024, 2, 29)),
    ("attribute.birthday", "between", ["2024-02-28", "2024-02-29"], date(2024, 2, 29), date(2024, 3, 1)),
    ("attribute.birthday", "within_days", 1, date(2024, 2, 29), date(2024, 2, 28)),
    ("attribute.birthday", "within_days", 0, date(2024, 3, 1), date(2024, 3, 2)),
    ("attribute.birthday", "older_than_days", 1, date(2024, 2, 28), date(2024, 2, 29)),
    ("attribute.birthday", "in_next_days", 1, date(2024, 3, 2), date(2024, 3, 3)),
    ("attribute.birthday", "on_or_before", "2024-02-29", date(2024, 2, 29), date(2024, 3, 1)),
    ("attribute.birthday", "on_or_after", "2024-02-29", date(2024, 2, 29), date(2024, 2, 28)),
    ("attribute.birthday", "in_period", "last_month", date(2024, 2, 29), date(2024, 3, 1)),
    ("attribute.birthday", "not_in_period", "this_week", date(2024, 2, 25), date(2024, 2, 26)),
    ("attribute.birthday", "anniversary_in_next_days", 1, date(1990, 3, 2), date(1990, 3, 3)),
    ("attribute.birthday", "anniversary_in_last_days", 1, date(2000, 2, 29), date(1999, 2, 28)),
    ("attribute.birthday", "anniversary_in_period", "last_month", date(1980, 2, 29), date(1980, 3, 1)),
    ("attribute.birthday", "is_empty", None, None, date(2024, 3, 1)),
    ("attribute.birthday", "is_not_empty", None, date(2024, 3, 1), None),
    (CATEGORIES.name, "any_of", ["toys", "games"], ["books", "toys"], ["books"]),
    (CATEGORIES.name, "all_of", ["toys", "games"], ["games", "toys"], ["toys"]),
    (CATEGORIES.name, "none_of", ["toys", "games"], [], ["games"]),
    (CATEGORIES.name, "is_empty", None, None, []),
    (CATEGORIES.name, "is_not_empty", None, ["toys"], None),
    ("segment.loyal", "in", None, True, None),
    ("segment.loyal", "not_in", None, None, True),
]


def test_the_golden_customers_cover_every_operator_of_every_type():
    covered = {(FIELDS[field].type, op) for field, op, *_rest in GOLDEN}
    assert covered == {(kind, op.name) for kind, ops in OPERATORS.items() for op in ops}


@pytest.mark.parametrize(("field", "op", "value", "yes", "no"), GOLDEN)
def test_a_golden_customer_for_each_operator(field, op, value, yes, no):
    node = parse({"field": field, "op": op, "value": value}, fields=FIELDS)
    frame = pl.DataFrame([EMPTY | {field: yes}, EMPTY | {field: no}], schema=SCHEMA)
    assert compiled.mask(node, frame, today=TODAY).to_list() == [True, False]
    assert [explain(node, row, today=TODAY).holds for row in frame.iter_rows(named=True)] == [True, False]


@pytest.mark.parametrize(("field", "op", "value", "yes", "no"), GOLDEN)
def test_a_missing_value_fits_nothing_but_empty_and_none_turns_that_round(field, op, value, yes, no):
    condition = {"field": field, "op": op, "value": value}
    expected = op == "is_empty" or (FIELDS[field].type is FieldType.SEGMENT and op == "not_in")
    frame = pl.DataFrame([EMPTY], schema=SCHEMA)
    without = frame.drop(field)
    for rule, answer in ((condition, expected), ({"none": [condition]}, not expected)):
        node = parse(rule, fields=FIELDS)
        assert compiled.mask(node, frame, today=TODAY).to_list() == [answer]
        assert compiled.mask(node, without, today=TODAY).to_list() == [answer]
        assert explain(node, {}, today=TODAY).holds is answer


def test_dates_are_taken_as_moments_too():
    frame = pl.DataFrame({"attribute.birthday": [datetime(2024, 2, 29, 23, 59, tzinfo=UTC), None]})
    node = parse({"field": "attribute.birthday", "op": "on", "value": "2024-02-29"}, fields=FIELDS)
    assert compiled.mask(node, frame, today=TODAY).to_list() == [True, False]
    for stored in (frame[0, 0], frame[0, 0].isoformat(), "2024-02-29"):
        assert explain(node, {"attribute.birthday": stored}, today=TODAY).holds


def test_a_boolean_stored_as_a_number_is_a_boolean():
    frame = pl.DataFrame({"attribute.vip": [1.0, 0.0, float("nan"), None]})
    node = parse({"field": "attribute.vip", "op": "is", "value": False}, fields=FIELDS)
    assert compiled.mask(node, frame, today=TODAY).to_list() == [False, True, False, False]


TEXT = st.text(alphabet="aAbBéÉ %.(", max_size=4)
DATES = st.dates(TODAY - timedelta(days=5), TODAY + timedelta(days=5))
NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.floats(-3, 3, allow_nan=False))
VALUES = {
    FieldType.NUMBER: NUMBERS,
    FieldType.TEXT: TEXT.filter(bool),
    FieldType.CHOICE: st.sampled_from(["low", "high"]),
    FieldType.BOOLEAN: st.booleans(),
    FieldType.DATE: DATES.map(date.isoformat),
    FieldType.TAGS: st.sampled_from(["toys", "games", "books"]),
}
PATTERNS = st.sampled_from(["^a", "b$", "[aé]+", "a.b", r"\(", "a|é", "^$"])
ROWS = st.fixed_dictionaries(
    {
        "feature.orders_90d": st.one_of(st.none(), st.just(float("nan")), NUMBERS),
        "score.churn": st.one_of(st.none(), NUMBERS),
        "customer.country": st.one_of(st.none(), TEXT),
        "score.value_tier.label": st.sampled_from([None, "", "low", "high"]),
        "attribute.vip": st.sampled_from([None, True, False]),
        "attribute.birthday": st.one_of(st.none(), DATES),
        "segment.loyal": st.sampled_from([None, True, False]),
        CATEGORIES.name: st.one_of(st.none(), st.lists(VALUES[FieldType.TAGS], unique=True)),
    }
)


@st.composite
def leaves(draw):
    field = draw(st.sampled_from(list(FIELDS.values())))
    op = draw(st.sampled_from(field.operators))
    rule = {"field": field.name, "op": op.name}
    if op.shape is ValueShape.ONE:
        rule["value"] = draw(VALUES[field.type])
    elif op.shape is ValueShape.PAIR:
        rule["value"] = sorted(draw(st.tuples(VALUES[field.type], VALUES[field.type])))
    elif op.shape is ValueShape.MANY:
        rule["value"] = draw(st.lists(VALUES[field.type], min_size=1, max_size=3))
    elif op.shape is ValueShape.DAYS:
        rule["value"] = draw(st.integers(0, 5))
    elif op.shape is ValueShape.PERIOD:
        rule["value"] = draw(st.sampled_from(list(PERIODS)))
    elif op.shape is ValueShape.PATTERN:
        rule["value"] = draw(PATTERNS)
    return rule


RULES = st.recursive(
    leaves(),
    lambda inner: st.builds(
        lambda kind, children: {kind: children},
        st.sampled_from(["all", "any", "none"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(rule=RULES, rows=st.lists(ROWS, min_size=1, max_size=6))
def test_the_frame_the_explanation_and_the_slow_reference_agree(rule, rows):
    node = parse(rule, fields=FIELDS)
    expected = [fits(rule, row, TODAY) for row in rows]
    frame = pl.DataFrame(rows, schema=SCHEMA)
    assert compiled.mask(node, frame, today=TODAY).to_list() == expected
    assert [explain(node, row, today=TODAY).holds for row in frame.iter_rows(named=True)] == expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rule=RULES)
def test_a_rule_reads_back_from_its_json_and_from_its_text(rule):
    node = parse(rule, fields=FIELDS)
    assert parse(to_json(node), fields=FIELDS) == node
    assert from_text(to_text(node), fields=FIELDS) == node


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rule=RULES, row=ROWS)
def test_the_settling_conditions_are_never_missing(rule, row):
    explained = explain(parse(rule, fields=FIELDS), row, today=TODAY)
    assert explained.reasons()


def test_a_reason_says_what_was_found_and_what_was_needed():
    def reasons(rule, row):
        return explain(parse(rule, fields=FIELDS), row, today=TODAY).reasons()

    orders = {"field": "feature.orders_90d", "op": ">=", "value": 3}
    country = {"field": "customer.country", "op": "is", "value": "France"}
    row = {"feature.orders_90d": 1.0, "customer.country": "France"}
    assert reasons({"all": [orders, country]}, row) == ("Orders in 90 days is 1, needs at least 3",)
    assert reasons({"any": [orders, country]}, row) == ("Country is France",)
    assert reasons({"none": [orders, country]}, row) == ("Country is France, must not be France",)
    assert reasons({"none": [orders]}, row) == ("Orders in 90 days is 1",)
    assert reasons(orders, {}) == ("Orders in 90 days is unknown, needs at least 3",)
    assert reasons({"field": "segment.loyal", "op": "in"}, {}) == ("Not in segment “Loyal”",)
