"""Rows that tell the answer are refused or told, before anybody believes a figure."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from segmentation import leak_checks, learning_data, targets
from segmentation.ml import leaks, splits
from segmentation.ml.schema import Frame, LearningError, Target
from segmentation.models import AttributeDefinition, AttributeValue, Customer, Shop
from segmentation.training_runs import TrainingError

YES_NO = Target(name="marked", kind="binary", positive="fraud")
SINCE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def rows(count=600, seed=0, **columns):
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.3).astype(np.float64)
    x = {"noise": rng.normal(size=count), "hint": truth + rng.normal(size=count)}
    x |= {name: make(truth, rng) for name, make in columns.items()}
    ids = np.arange(count, dtype=np.int64)
    return Frame(ids, np.full(count, np.datetime64("2024-01-01")), pl.DataFrame(x), {"marked": truth})


def told(frame):
    return {one.column: round(one.auc, 2) for one in leaks.telling_columns(frame, [YES_NO])}


def test_honest_columns_are_left_alone_and_a_name_for_each_customer_tells_nothing():
    assert told(rows(name=lambda truth, _rng: [f"c{n}" for n in range(len(truth))])) == {}


@pytest.mark.parametrize(
    "leak",
    [
        lambda truth, _rng: truth,
        lambda truth, rng: -3 * truth + rng.normal(size=len(truth)) * 1e-3,
        lambda truth, _rng: ["late" if one else "fine" for one in truth],
        lambda truth, _rng: [None if one else 1.0 for one in truth],
        lambda truth, _rng: np.where(truth == 1, np.inf, 1.0),
        # Not in order of size: only its bins tell.
        lambda truth, rng: np.where(truth == 1, rng.choice([2.0, 8.0], len(truth)), rng.choice([1.0, 5.0, 9.0], len(truth))),
    ],
)  # fmt: skip
def test_a_column_that_is_the_label_in_disguise_is_found(leak):
    assert told(rows(leak=leak)) == {"leak": 1.0}


def test_constant_and_empty_columns_tell_nothing():
    frame = rows(one=lambda truth, _rng: [1.0] * len(truth), none=lambda truth, _rng: [None] * len(truth))
    assert told(frame.take(np.arange(600))) == {}


def test_copies_made_before_the_split_are_refused_and_a_few_equal_rows_told(db):
    whole = rows(400)
    copies = Frame(whole.ids + 1000, whole.cutoffs, whole.x, whole.labels)
    asked = [targets.make("marked", kind="churn")]
    with pytest.raises(TrainingError, match="Were rows copied to balance the classes"):
        leak_checks.check(asked, [YES_NO], whole, copies)
    few = Frame.concat([copies.take(np.arange(4)), rows(400, seed=5)])
    assert leak_checks.check(asked, [YES_NO], whole, few) == [
        "4 rows tested on look exactly like a row learned from (1.0%). They were kept; "
        "if they are copies, the figures are a little too good."
    ]
    assert leak_checks.check(asked, [YES_NO], whole, rows(400, seed=5)) == []


def test_a_row_that_is_there_twice_was_balanced_too_early():
    whole = rows(50)
    with pytest.raises(LearningError, match="Balance classes in the training"):
        splits.require_once(Frame.concat([whole, whole.take(np.arange(3))]))
    splits.require_once(whole)


@pytest.fixture
def table(db):
    """Customers with a label, an honest column, and one that staff filled in after they had labelled."""
    people = Customer.objects.bulk_create(Customer(reference=f"L{n}") for n in range(300))
    columns = {
        slug: AttributeDefinition.objects.create(slug=slug, label=slug.title(), kind=kind, is_feature=True)
        for slug, kind in (("label", "boolean"), ("size", "number"), ("outcome", "number"))
    }
    rng = np.random.default_rng(2)
    values = []
    for person in people:
        marked = float(rng.random() < 0.4)
        given = {"label": marked, "size": marked + rng.normal(), "outcome": marked}
        values += [
            AttributeValue(
                customer=person,
                definition=columns[slug],
                number=value,
                valid_from=SINCE + dt.timedelta(days=30 if slug == "outcome" else 0),
            )
            for slug, value in given.items()
        ]
    AttributeValue.objects.bulk_create(values)
    return targets.make("marked", kind="risk", attribute="label")


def material(target):
    return learning_data.category(target, as_of=dt.date(2024, 6, 1), shop=Shop.get())


def test_a_leaking_column_is_refused_by_its_name_until_it_is_taken_out_or_checked(table):
    with pytest.raises(TrainingError, match="“Outcome” alone tells “marked” almost perfectly") as refusal:
        material(table)
    assert "Take it out under Attributes" in str(refusal.value)
    AttributeDefinition.objects.filter(slug="outcome").update(is_feature=False)
    assert material(table).snapshot["warnings"] == []
    AttributeDefinition.objects.filter(slug="outcome").update(is_feature=True)
    table.settings = {**table.settings, "trusted": ["outcome"]}
    (warning,) = material(table).snapshot["warnings"]
    assert "given “Outcome” only after their label" in warning


def test_columns_given_after_the_label_are_found(table):
    assert leak_checks.late_columns(table) == ["outcome"]
