"""docs/rules.md says the truth: its examples are read, and no operator, measure, kind or period is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from segmentation.rules.events import KINDS, Measure
from segmentation.rules.fields import RuleField
from segmentation.rules.operators import OPERATORS, FieldType
from segmentation.rules.text import from_text

PAGE = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
NUMBERS = ("feature.orders_365d", "feature.orders_90d", "feature.recency_days", "score.churn")
TEXTS = ("customer.country", "customer.channel", "consent.marketing", "score.value_tier.label")
DATES = ("attribute.renewal", "attribute.birthday")
FIELDS = {
    **{name: RuleField(name, name, FieldType.NUMBER) for name in NUMBERS},
    **{name: RuleField(name, name, FieldType.TEXT) for name in TEXTS},
    **{name: RuleField(name, name, FieldType.DATE) for name in DATES},
    "segment.loyal": RuleField("segment.loyal", "Loyal", FieldType.SEGMENT),
    "customer.is_profiled": RuleField("customer.is_profiled", "Profiled", FieldType.BOOLEAN),
    "attribute.vip": RuleField("attribute.vip", "VIP", FieldType.BOOLEAN),
}
FENCES = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = [text for language, text in FENCES if not language]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_blocks_of_text_are_rules(block):
    rules = [block] if block.startswith("all(") else block.splitlines()
    for rule in rules:
        from_text(rule, fields=FIELDS)


def test_every_operator_has_an_example():
    table = PAGE[PAGE.index("## Operators") : PAGE.index("Periods are")]
    for op in {op.name for ops in OPERATORS.values() for op in ops}:
        words = op.removesuffix("_days").replace("_", " ")
        assert words in table, op


def test_every_measure_and_kind_is_named():
    assert not [name for name in (*Measure, *KINDS) if f"`{name}`" not in PAGE]
