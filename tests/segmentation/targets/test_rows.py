"""Targets as rows: what staff may ask for, what is refused, and what each means in words."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from segmentation import labels, target_settings, targets, training, training_frames
from segmentation.models import AttributeDefinition, Customer, Target
from segmentation.rules import fields

SINCE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def make(slug, kind, **options):
    return targets.make(slug, kind=kind, horizon_days=90, options=options)


def test_the_usual_three_tiers_carry_no_settings_and_mean_what_they_meant(db):
    usual = targets.install()[1]
    assert targets.classes(usual) == ("none", "low", "middle", "high")
    assert usual.settings == {}
    assert "three groups of equal size" in targets.definition(usual)


@pytest.mark.parametrize(
    ("options", "classes", "words"),
    [
        ({"tier_count": 2}, ("none", "low", "high"), "one of 2 tiers"),
        ({"tier_count": 5}, ("none", "lowest", "low", "middle", "high", "top"), "one of 5 tiers"),
        ({"tier_count": 7}, ("none", *(f"tier_{n}" for n in range(1, 8))), "one of 7 tiers"),
        ({"borders": "100; 500"}, ("none", "low", "middle", "high"), "cut at 100, 500"),
    ],
)
def test_any_number_of_tiers_by_share_or_by_money(db, options, classes, words):
    target = make("tiers", "value_tier", **options)
    assert targets.classes(target) == classes
    assert words in targets.definition(target)
    spend = np.array([0.0, 50.0, 200.0, 900.0, 50.0, 210.0, 910.0])
    cuts = training_frames.tier_cuts(target, spend)
    assert len(cuts) == len(classes) - 2
    if "borders" in options:
        assert labels.tiers(spend, cuts).tolist() == [0, 1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("value_tier", {"tier_count": 1}, "from 2 to 20 tiers"),
        ("value_tier", {"borders": "500, 100"}, "rise"),
        ("value_tier", {"borders": "0, 100"}, "above zero"),
        ("value_tier", {"borders": "a lot"}, "Write numbers"),
        ("value_tier", {"borders": "nan, 3"}, "Write numbers"),
        ("value_tier", {"tier_by": "money"}, "Write the amounts"),
        ("next_order", {"days": "30, 7"}, "Write whole days that rise"),
        ("next_order", {"days": "7.5"}, "Write whole days"),
        ("next_order", {"days": "7, 400"}, "from 1 to 365"),
        ("risk", {"method": "labelled"}, "choose “anomaly”"),
        ("clusters", {"method": "magic"}, "Groups are found by"),
        ("clusters", {"count": 1}, "from 2 to 20 groups"),
        ("category", {}, "needs the column"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_what_to_do(db, kind, options, sentence):
    with pytest.raises(targets.TargetError, match=sentence):
        make("x", kind, **options)
    assert not Target.objects.filter(slug="x").exists()


def test_the_next_order_looks_as_far_as_its_last_day_and_learns_alone(db):
    usual = targets.install()
    target = make("next", "next_order", days="5, 20")
    assert (target.horizon_days, targets.classes(target)) == (20, ("within_5", "within_20", "later"))
    assert "up to 20 days" in targets.definition(target)
    again = make("next90", "next_order")
    assert training.families([*usual, again, target]) == [usual, [again], [target]]
    assert labels.spans(np.array([0.0, 4, 5, 19, 20, np.inf]), (5, 20)).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_risk_needs_to_know_which_labels_it_is(db):
    column = AttributeDefinition.objects.create(slug="checked", label="Checked", kind="text")
    with pytest.raises(targets.TargetError, match="Say which labels"):
        targets.make("fraud", kind="risk", attribute="checked")
    made = targets.make("fraud", kind="risk", attribute="checked", options={"positive": "fraud, abuse"})
    column.refresh_from_db()
    assert (column.is_label, column.is_feature) == (True, False), "a label is not learned from"
    assert target_settings.positives(made) == ("fraud", "abuse")
    assert "“fraud, abuse” in “Checked”" in targets.definition(made)
    assert targets.is_labelled(made)
    assert not targets.is_labelled(make("odd", "risk"))
    assert [field.name for field in fields.target_fields(made)] == ["score.fraud"]


def test_the_command_makes_every_kind(db, capsys):
    AttributeDefinition.objects.create(slug="marked", label="Marked", kind="boolean")
    call_command("target", "money", "--kind", "value_tier", "--borders", "100,500")
    call_command("target", "soon", "--kind", "next_order", "--days", "7,30")
    call_command("target", "bad", "--kind", "risk", "--attribute", "marked")
    call_command("target", "odd", "--kind", "risk", "--method", "anomaly")
    call_command("target", "groups", "--kind", "clusters", "--method", "ward", "--count", "4")
    call_command("target", "next", "--kind", "next_products", "--horizon", "30")
    printed = capsys.readouterr().out
    assert "in 3 tiers cut at 100, 500" in printed
    assert "next: Which products" in printed
    with pytest.raises(CommandError, match="rise"):
        call_command("target", "x", "--kind", "value_tier", "--borders", "5,1")
    assert Target.objects.count() == 6


def test_boolean_labels_are_learned_by_the_names_that_rows_carry(db):
    """The classes of a yes-or-no column are those that its rows are read as."""
    AttributeDefinition.objects.create(slug="marked", label="Marked", kind="boolean")
    target = targets.make("kind", kind="category", attribute="marked")
    assert targets.learn_classes(target) == ("no", "yes")


def test_a_list_with_rare_entries_learns_those_that_occur(db):
    column = AttributeDefinition.objects.create(
        slug="sort", label="Sort", kind="choice", choices=["a", "b", "never"]
    )
    people = Customer.objects.bulk_create(Customer(reference=f"C{n}") for n in range(48))
    for number, person in enumerate(people):
        column.values.create(customer=person, text="ab"[number % 2], valid_from=SINCE)
    target = targets.make("sorts", kind="category", attribute="sort")
    assert targets.learn_classes(target) == ("a", "b")
