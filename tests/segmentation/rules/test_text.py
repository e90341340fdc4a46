"""Rules as text: what may be written, and where an error is."""

from __future__ import annotations

import pytest

from segmentation.rules.errors import RuleError
from segmentation.rules.language import parse, to_json
from segmentation.rules.text import from_text, to_text
from tests.segmentation.rules.frames import FIELDS

LONG = """all(
  feature.orders_90d >= 3,
  any(
    customer.country is "France",
    in segment.loyal
  ),
  count of order_placed (category in ("toys"), amount > 19.99, within 30 days) >= 2,
  first of order_placed or viewed between 2024-01-01 and 2024-02-01,
  count of viewed (older than 3 days, not followed by order_placed (category in ("toys"))) > 0,
  last_category of order_placed (discounted, from 2024-01-01, to 2024-03-01) any of ("toys", "games"),
  count of viewed (product (id in ("A", "b,\\"c"), name starts with "x", price > 9.5, quantity = 2)) > 0,
  count of viewed (not followed by order_placed (product (category in ("toys"), name is "y"))) > 0,
  none(attribute.birthday anniversary in next 7 days)
)"""


def test_a_rule_with_everything_is_written_as_it_was_read():
    node = from_text(LONG, fields=FIELDS)
    assert to_text(node) == LONG
    assert parse(to_json(node), fields=FIELDS) == node
    assert to_json(node)["all"][2] == {
        "event": {
            "kind": ["order_placed"],
            "category": ["toys"],
            "amount": {"op": ">", "value": 19.99},
            "within_days": 30,
        },
        "op": ">=",
        "value": 2,
    }


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (
            'feature.orders_90d > 1 and customer.country is "x" or not in segment.loyal',
            {
                "any": [
                    {
                        "all": [
                            {"field": "feature.orders_90d", "op": ">", "value": 1},
                            {"field": "customer.country", "op": "is", "value": "x"},
                        ]
                    },
                    {"field": "segment.loyal", "op": "not_in"},
                ]
            },
        ),
        ("not (attribute.vip is true)", {"none": [{"field": "attribute.vip", "op": "is", "value": True}]}),
        ("score.churn >= 65%  # a comment", {"field": "score.churn", "op": ">=", "value": 0.65}),
        ('`customer.country` is not "a\\"b"', {"field": "customer.country", "op": "is_not", "value": 'a"b'}),
        (
            "attribute.birthday on or before 2024-02-29 or attribute.birthday is empty",
            {
                "any": [
                    {"field": "attribute.birthday", "op": "on_or_before", "value": "2024-02-29"},
                    {"field": "attribute.birthday", "op": "is_empty"},
                ]
            },
        ),
        ("all(in segment.loyal,)", {"all": [{"field": "segment.loyal", "op": "in"}]}),
    ],
)
def test_shorter_ways_of_writing_are_taken(text, rule):
    assert to_json(from_text(text, fields=FIELDS)) == rule


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "Line 1, column 1", "Expected the name of a field, found “the end”"),
        ("all(", "Line 1, column 5", "the end"),
        ("all()", "Line 1, column 1", "empty"),
        ("feature.orders_90d >=", "Line 1, column 22", "Expected a value"),
        ("feature.orders_90d", "Line 1, column 19", "Expected a comparison"),
        (
            "all(\n  feature.orders_90d > 1,\n  customer.country > 3\n)",
            "Line 3, column 3",
            "does not fit Country",
        ),
        ("all(feature.nothing > 1)", "Line 1, column 5", "no field called “feature.nothing”"),
        ("feature.orders_90d between 3 or 4", "Line 1, column 30", "Expected “and”"),
        ("count of dreamt >= 1", "Line 1, column 1", "“dreamt”"),
        ("count of viewed (sideways) >= 1", "Line 1, column 26", "no filter “sideways”"),
        ("count of viewed (within 3 days, within 4 days) > 1", "Line 1, column 46", "twice"),
        ("count of viewed (product) > 1", "Line 1, column 25", "Expected “(”"),
        ("count of viewed (product (size > 3)) > 1", "Line 1, column 32", "Products have no filter “size”"),
        ('count of viewed (product (name "x")) > 1', "Line 1, column 32", "no filter “name”"),
        ("count of viewed (product (price > 3, price > 4)) > 1", "Line 1, column 47", "twice"),
        ("most of viewed > 1", "Line 1, column 1", "no measure called “most”"),
        ('customer.country is "a', "Line 1, column 21", "means nothing here"),
        ('customer.country is "\\q"', "Line 1, column 21", "backslash"),
        ("in segment.loyal in segment.loyal", "Line 1, column 18", "Expected the end"),
        ("€", "Line 1, column 1", "means nothing here"),
        ("(" * 100, "Line 1, column 61", "too deep"),
        ("x" * 100_001, "", "longer than"),
    ],
)
def test_an_error_says_where_it_is(text, place, words):
    with pytest.raises(RuleError) as caught:
        from_text(text, fields=FIELDS)
    assert (place in caught.value.message, words in caught.value.message) == (True, True), caught.value
