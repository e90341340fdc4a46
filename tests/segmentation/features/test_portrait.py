"""The portrait of the features: what is stored of a sample, for the catalogue page to draw."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from segmentation.features import portrait, store
from segmentation.features.catalogue import CATALOGUE, CATALOGUE_VERSION
from segmentation.features.compute import compute
from segmentation.features.context_data import ContextData
from segmentation.features.frames import events_frame
from segmentation.kinds import EventKind
from segmentation.models import AttributeDefinition, AttributeValue, Customer, FeaturePortrait, ShopContext

AS_OF = date(2024, 7, 1)


def test_missing_values_are_a_share_and_stay_out_of_the_bars():
    drawn = portrait.describe(pl.Series("x", [1.0, 1.0, 3.0, None]))
    assert drawn["missing"] == 0.25
    assert drawn["values"] == [[1.0, 2], [3.0, 1]]


def test_many_values_become_bars_that_hold_everybody_and_a_long_tail_leaves_room():
    values = [float(n) for n in range(1000)] + [1e9]
    drawn = portrait.describe(pl.Series("x", values))
    assert len(drawn["counts"]) == portrait.BARS == len(drawn["edges"]) - 1
    assert sum(drawn["counts"]) == len(values)
    assert drawn["edges"][-1] <= 1000
    assert drawn["deciles"] == pytest.approx([100.0 * n for n in range(1, 10)])


def test_texts_are_counted_and_an_empty_one_is_missing():
    drawn = portrait.describe(pl.Series("x", ["GB", "FR", "GB", "", None]))
    assert drawn == {"missing": 0.4, "values": [["GB", 2], ["FR", 1]]}


def test_nobody_to_look_at_is_no_error():
    assert portrait.describe(pl.Series("x", [], dtype=pl.Float64)) == {"missing": 0.0, "values": []}
    assert portrait.describe(pl.Series("x", [None, None], dtype=pl.Float64)) == {"missing": 1.0, "values": []}


@pytest.mark.django_db
def test_a_portrait_holds_every_feature_and_the_shops_own_and_replaces_the_one_before(shop):
    people = [row.pk for row in Customer.objects.bulk_create(Customer(reference=f"P{n}") for n in range(4))]
    size = AttributeDefinition.objects.create(slug="size", label="Size", kind="number", is_feature=True)
    AttributeDefinition.objects.create(slug="note", label="Note", kind="text")
    AttributeValue.objects.create(
        customer_id=people[0], definition=size, valid_from=datetime(2024, 1, 1, tzinfo=UTC), number=40
    )
    bought = {"kind": int(EventKind.ORDER_PLACED), "occurred_at": datetime(2024, 6, 1, tzinfo=UTC)}
    events = events_frame([bought | {"customer_id": people[1], "amount_minor": 1000}])
    context = ShopContext.objects.create(as_of=AS_OF, catalogue_version=CATALOGUE_VERSION, data={})
    customers = store.read_customers(people, as_of=AS_OF, shop=shop)
    features = compute(events, AS_OF, ContextData(as_of=AS_OF), customers=customers)
    store.write_features(features, as_of=AS_OF, context=context, input_versions=pl.Series([1] * len(people)))

    portrait.refresh(portrait.sample(AS_OF), as_of=AS_OF)
    found = portrait.refresh(portrait.sample(AS_OF), as_of=AS_OF)
    assert FeaturePortrait.objects.get() == found
    assert found.customers == 4
    assert set(found.data) == {feature.name for feature in CATALOGUE} | {"attribute.size"}
    assert found.data["orders_lifetime"]["values"] == [[0.0, 3], [1.0, 1]]
    assert found.data["recency_days"]["missing"] == 0.75
    assert found.data["attribute.size"] == {"missing": 0.75, "values": [[40.0, 1]], "deciles": [40.0] * 9}
