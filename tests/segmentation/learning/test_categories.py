"""A staff label is learned like anything else, and needs no events."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from segmentation import scoring, serving, targets, training_runs
from segmentation.dashboard import model_card
from segmentation.ml.config import LABELLED
from segmentation.models import (
    AttributeDefinition,
    AttributeValue,
    Customer,
    LeaseState,
    ModelVersion,
    Score,
    Shop,
    Target,
    TrainingRun,
)
from tests.segmentation.learning.conftest import train
from tests.support import mini_shop

COUNT = 320


@pytest.fixture
def table(db):
    """A labelled table without events: the label follows two columns, and every fourth customer has none."""
    shop = Shop.get()
    shop.frozen_on = mini_shop.TODAY
    shop.save()
    rng = np.random.default_rng(3)
    make = AttributeDefinition.objects.create
    size = make(slug="size", label="Size", kind="number", is_feature=True)
    trade = make(slug="trade", label="Trade", kind="choice", is_feature=True, choices=["retail", "hotel"])
    label = make(slug="kind", label="Kind of customer", kind="text")
    people = Customer.objects.bulk_create(Customer(reference=f"T{n}") for n in range(COUNT))
    since = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    values = []
    for number, person in enumerate(people):
        amount, hotel = float(rng.normal(10, 3)), bool(rng.random() < 0.5)
        name = "partner" if hotel and amount > 9 else "small" if amount < 11 else "big"
        values += [
            AttributeValue(customer=person, definition=size, number=amount, valid_from=since),
            AttributeValue(
                customer=person, definition=trade, text="hotel" if hotel else "retail", valid_from=since
            ),
        ]
        if number % 4:
            values.append(AttributeValue(customer=person, definition=label, text=name, valid_from=since))
    AttributeValue.objects.bulk_create(values)
    return shop


def test_a_labelled_table_without_events_is_learned_and_everybody_gets_a_class(table):
    call_command("target", "customer_kind", "--kind", "category", "--attribute", "kind")
    target = Target.objects.get(slug="customer_kind")
    run = train([target], config={"epochs": 15, "boosting_rounds": 60})
    assert (run.state, run.error) == (LeaseState.DONE, "")
    blend = ModelVersion.objects.get(algorithm="blend")
    assert {member.algorithm for member in blend.members.all()} == {"lightgbm", "mlp"}
    figures = blend.evaluation["customer_kind"]
    assert figures["metrics"]["accuracy"]["value"] > 0.75, "two columns tell the class"
    assert blend.config["classes"]["customer_kind"] == ["big", "partner", "small"]
    assert "attribute.kind" not in blend.features
    ids = list(Customer.objects.values_list("pk", flat=True))
    report = scoring.score_customers(ids, scoring.pin())
    assert len(report.written) == COUNT
    labels = Score.objects.filter(target=target).values_list("label", flat=True)
    assert len(labels) == COUNT, "also who has no label and no order"
    assert set(labels) <= {"big", "partner", "small"}
    column = [answer.classes for answer in serving.current()]
    assert column == [("big", "partner", "small")]


def test_too_few_labels_are_refused_with_the_numbers(table):
    AttributeValue.objects.filter(
        definition__slug="kind", customer__pk__gt=Customer.objects.first().pk + 99
    ).delete()
    target = targets.make("customer_kind", kind="category", horizon_days=90, attribute="kind")
    with pytest.raises(training_runs.NotEnoughData) as refusal:
        training_runs.request([target])
    assert str(refusal.value) == (
        "Not enough data to train: needs 200 customers labelled for “Customer kind”, has 75."
    )


def relabel(count, text):
    """Give so many labelled customers another label."""
    rows = AttributeValue.objects.filter(definition__slug="kind").order_by("pk")
    keys = list(rows.values_list("pk", flat=True)[:count])
    AttributeValue.objects.filter(pk__in=keys).update(text=text)


def test_a_label_that_few_carry_is_left_out_and_the_training_goes_well(table):
    """A fifth of its customers would test, and too few be left to teach."""
    relabel(15, "rare")
    target = targets.make("customer_kind", kind="category", horizon_days=90, attribute="kind")
    run = train([target], config={"epochs": 2, "boosting_rounds": 10})
    assert (run.state, run.error) == (LeaseState.DONE, "")
    blend = ModelVersion.objects.get(algorithm="blend")
    assert blend.config["classes"]["customer_kind"] == ["big", "partner", "small"]


def test_a_known_class_that_has_become_rare_is_refused_before_the_training(table):
    target = targets.make("customer_kind", kind="category", horizon_days=90, attribute="kind")
    relabel(15, "rare")
    target.settings = {"classes": ["big", "partner", "rare", "small"]}
    target.save()
    with pytest.raises(training_runs.NotEnoughData) as refusal:
        training_runs.request([target])
    assert str(refusal.value) == (
        "Not enough data to train: needs 20 customers labelled “rare” for “Customer kind”, has 15."
    )
    assert not TrainingRun.objects.exists()


def test_a_risk_with_few_marked_customers_is_refused_before_the_training(table):
    relabel(12, "fraud")
    risk = targets.make(
        "fraud", kind="risk", horizon_days=90, attribute="kind", options={"positive": "fraud"}
    )
    with pytest.raises(training_runs.NotEnoughData, match="needs 20 customers labelled “fraud”.* has 12"):
        training_runs.request([risk])


def test_differential_privacy_is_kept_told_on_the_card_and_refused_where_it_does_not_hold(table):
    target = targets.make("customer_kind", kind="category", horizon_days=90, attribute="kind")
    asked = {"privacy_epsilon": 6.0, "epochs": 3, "batch_size": 64}
    with pytest.raises(training_runs.TrainingError, match="one network over columns"):
        training_runs.request([target], config=asked)
    with pytest.raises(training_runs.TrainingError, match="lightgbm learns in other ways"):
        training_runs.request([target], config=asked, algorithms=["lightgbm"])
    run = train([target], config={**asked, "algorithms": ["tabm"]})
    assert (run.state, run.error) == (LeaseState.DONE, "")
    made = ModelVersion.objects.get(algorithm="tabm")
    assert 5 < made.config["privacy"]["epsilon"] <= 6
    assert "ε = " in " ".join(model_card.card(made).privacy)
    assert "δ = " in " ".join(model_card.card(made).privacy)
    beside = ModelVersion.objects.get(algorithm="logistic")
    assert "without differential privacy" in " ".join(model_card.card(beside).privacy)


def test_columns_with_one_value_are_not_learned_from_and_labels_have_settings_of_their_own(table):
    target = targets.make("customer_kind", kind="category", horizon_days=90, attribute="kind")
    run = train([target], preset="default", config={"epochs": 2, "boosting_rounds": 10})
    assert run.state == LeaseState.DONE
    found = ModelVersion.objects.get(algorithm="blend")
    assert set(found.features) == {"attribute.size", "attribute.trade"}, "nobody has ordered here"
    assert (found.config["epochs"], found.config["boosting_leaves"]) == (2, LABELLED["boosting_leaves"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["x", "--kind", "category"], "needs the column that holds its labels"),
        (["x", "--kind", "category", "--attribute", "size"], "holds no classes"),
        (["x"], "Say what is predicted"),
        (["No Slug", "--kind", "churn"], "is no short name"),
        (["churn", "--kind", "churn"], "There is a target called churn already"),
        (["x", "--kind", "churn", "--horizon", "0"], "from 1 to 730 days"),
    ],
)
def test_a_target_that_cannot_be_is_refused_with_a_sentence(table, arguments, sentence):
    targets.install()
    with pytest.raises(CommandError, match=sentence):
        call_command("target", *arguments)
    assert Target.objects.count() == 3


def test_the_command_makes_and_lists_targets(db, capsys):
    call_command("target")
    call_command("target", "churn_30", "--kind", "churn", "--horizon", "30")
    assert (
        "churn_30: The chance that the customer places no order in the next 30 days."
        in capsys.readouterr().out
    )
    assert Target.objects.get(slug="churn_30").horizon_days == 30
