"""What a rule may look like, and where its errors are."""

from __future__ import annotations

import pytest

from segmentation.rules import language
from segmentation.rules.language import MAX_CONDITIONS, MAX_DEPTH, RuleError, parse
from segmentation.rules.operators import OPERATORS, FieldType, ValueShape
from tests.segmentation.rules.frames import FIELDS

ORDERS = {"field": "feature.orders_90d", "op": ">=", "value": 3}


def refused(rule) -> RuleError:
    with pytest.raises(RuleError) as caught:
        parse(rule, fields=FIELDS)
    return caught.value


def test_a_nested_rule_reads_back_as_it_was_written():
    rule = {
        "all": [
            ORDERS,
            {"any": [{"field": "customer.country", "op": "in", "value": ["France", "Spain"]}]},
            {"none": [{"field": "segment.loyal", "op": "in"}]},
            {"field": "attribute.birthday", "op": "between", "value": ["2024-01-01", "2024-02-29"]},
            {"field": "score.churn", "op": "between", "value": [0.25, 0.5]},
        ]
    }
    assert language.to_json(parse(rule, fields=FIELDS)) == rule
    assert language.segments_used(parse(rule, fields=FIELDS)) == {"loyal"}
    assert language.uses_predictions(parse(rule, fields=FIELDS))
    assert not language.uses_predictions(parse(ORDERS, fields=FIELDS))


def test_json_text_is_taken_too():
    text = '{"all": [{"field": "feature.orders_90d", "op": ">=", "value": 3}]}'
    assert language.to_json(parse(text, fields=FIELDS)) == {"all": [ORDERS]}


@pytest.mark.parametrize(
    ("rule", "path", "words"),
    [
        ("{", "", "not valid JSON"),
        (None, "", "found nothing"),
        ([], "", "found a list"),
        ({}, "", "exactly one key"),
        ({"all": [ORDERS], "any": [ORDERS]}, "", "exactly one key"),
        ({"all": []}, "all", "empty"),
        ({"all": {}}, "all", "Expected a list"),
        ({"all": [ORDERS, 5]}, "all[1]", "found “5”"),
        ({"all": [{"any": [{"field": "x", "op": "="}]}]}, "all[0].any[0].field", "no field called “x”"),
        ({"field": ["feature.orders_90d"], "op": "="}, "field", "no field"),
        ({"all": [ORDERS | {"op": "contains"}]}, "all[0].op", "does not fit Orders in 90 days"),
        ({"all": [ORDERS | {"op": None}]}, "all[0].op", "does not fit"),
        ({"all": [ORDERS, ORDERS | {"value": "3"}]}, "all[1].value", "Expected a number, found “3”"),
        (ORDERS | {"value": True}, "value", "Expected a number"),
        (ORDERS | {"value": float("nan")}, "value", "Expected a number"),
        (ORDERS | {"value": float("inf")}, "value", "too large"),
        (ORDERS | {"value": 10**400}, "value", "too large"),
        (ORDERS | {"value": None}, "value", "found nothing"),
        (ORDERS | {"value": 3, "and": 1}, "", "no “and”"),
        (ORDERS | {"op": "between", "value": [3]}, "value", "list of two values"),
        (ORDERS | {"op": "between", "value": [3, 1]}, "value", "above the upper"),
        (ORDERS | {"op": "between", "value": [3, "x"]}, "value[1]", "Expected a number"),
        (ORDERS | {"op": "is_empty"}, "value", "takes no value"),
        ({"field": "customer.country", "op": "in", "value": []}, "value", "at least one value"),
        ({"field": "customer.country", "op": "in", "value": ["UK", ""]}, "value[1]", "Expected a text"),
        ({"field": "customer.country", "op": "is", "value": "x" * 501}, "value", "longer than 500"),
        ({"field": "customer.country", "op": "is", "value": "a\x00"}, "value", "cannot be stored"),
        ({"field": "customer.country", "op": "matches", "value": "("}, "value", "unclosed group"),
        ({"field": "customer.country", "op": "matches", "value": "(?=a)"}, "value", "cannot be used"),
        ({"field": "customer.country", "op": "matches", "value": "a" * 201}, "value", "longer than 200"),
        ({"field": "customer.country", "op": "matches", "value": r"(\w{50}){50}"}, "value", "size limit"),
        ({"field": "attribute.birthday", "op": "in_period", "value": "someday"}, "value", "no period called"),
        ({"field": "score.value_tier.label", "op": "is", "value": "top"}, "value", "use one of: low, high"),
        ({"field": "attribute.vip", "op": "is", "value": 1}, "value", "true or false"),
        ({"field": "attribute.birthday", "op": "on", "value": "2023-02-29"}, "value", "such as 2024-02-29"),
        ({"field": "attribute.birthday", "op": "on", "value": "2024-W01-1"}, "value", "Expected a date"),
        ({"field": "attribute.birthday", "op": "within_days", "value": 1.5}, "value", "whole number of days"),
        (
            {"field": "attribute.birthday", "op": "within_days", "value": float("inf")},
            "value",
            "whole number",
        ),
        ({"field": "attribute.birthday", "op": "within_days", "value": -1}, "value", "from 0 to"),
        ({"field": "attribute.birthday", "op": "within_days", "value": 10**9}, "value", "from 0 to"),
        ({"field": "segment.loyal", "op": "in", "value": True}, "value", "takes no value"),
    ],
)
def test_an_error_names_its_node_in_a_plain_sentence(rule, path, words):
    error = refused(rule)
    assert (error.path, words in error.message) == (path, True), error


def test_depth_and_size_are_limited():
    deep = ORDERS
    for _ in range(MAX_DEPTH):
        deep = {"all": [deep]}
    parse(deep, fields=FIELDS)
    assert "nested more than" in refused({"all": [deep]}).message
    ten = {"any": [ORDERS] * 10}
    parse({"all": [ten] * (MAX_CONDITIONS // 10)}, fields=FIELDS)
    assert "conditions" in refused({"all": [ten] * (MAX_CONDITIONS // 10 + 1)}).message
    assert "entries" in refused({"all": [ORDERS] * (MAX_CONDITIONS + 1)}).message


def test_text_nested_a_thousand_deep_is_refused_not_crashed_on():
    assert refused('{"all": [' * 1500 + "]}" * 1500).message


@pytest.mark.parametrize("kind", list(FieldType))
def test_every_operator_of_every_type_has_a_sentence(kind):
    field = next(field for field in FIELDS.values() if field.type is kind)
    values = {
        FieldType.NUMBER: [1, 2],
        FieldType.DATE: ["2024-01-01", "2024-01-02"],
        FieldType.BOOLEAN: [True],
        FieldType.CHOICE: ["low", "high"],
        FieldType.TAGS: ["toys", "games"],
    }.get(kind, ["a", "b"])
    for op in OPERATORS[kind]:
        rule = {"field": field.name, "op": op.name}
        shapes = {
            ValueShape.ONE: values[0],
            ValueShape.PAIR: values,
            ValueShape.MANY: values,
            ValueShape.DAYS: 7,
            ValueShape.PERIOD: "this_week",
            ValueShape.PATTERN: "^a",
        }
        if op.shape is not ValueShape.NOTHING:
            rule["value"] = shapes[op.shape]
        said = language.sentence(parse(rule, fields=FIELDS))
        assert str(field.label) in said
        assert "%(" not in said


def test_a_sentence_says_the_whole_tree_in_plain_words():
    rule = {
        "all": [
            ORDERS,
            {
                "any": [
                    {"field": "customer.country", "op": "is", "value": "France"},
                    {"field": "segment.loyal", "op": "in"},
                ]
            },
            {"none": [{"field": "score.churn", "op": ">=", "value": 0.6}]},
        ]
    }
    assert language.sentence(parse(rule, fields=FIELDS)) == (
        "Orders in 90 days is at least 3 and (Country is France or segment “Loyal” includes the customer)"
        " and none of these: Chance to stop buying is at least 60 %"
    )
