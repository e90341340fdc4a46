"""The catalogue page: every feature with its sentence, its distribution and how often it is not known."""

from __future__ import annotations

from datetime import date

import pytest

from segmentation.features import topic_words
from segmentation.features.catalogue import CATALOGUE, CATALOGUE_VERSION
from segmentation.models import AttributeDefinition, FeaturePortrait
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

pytestmark = pytest.mark.django_db
ADDRESS = "featureportrait_changelist"


def drawn(**data):
    return FeaturePortrait.objects.create(
        as_of=date(2024, 6, 2), catalogue_version=CATALOGUE_VERSION, customers=1234, data=data
    )


def test_before_a_classification_every_feature_is_there_with_its_sentence(admin_client):
    text = admin_client.get(page(ADDRESS)).content.decode()
    for feature in CATALOGUE:
        assert f'id="{feature.name}"' in text
    assert "Days since the last order: –" in text
    assert "end of the next classification" in text


def test_a_feature_shows_its_distribution_in_a_chart_in_words_and_in_a_table(admin_client):
    deciles = [1.0, 2.0, 3.0, 4.0, 17.0, 20.0, 30.0, 40.0, 50.0]
    drawn(
        recency_days={"missing": 0.125, "edges": [0.0, 30.0, 60.0], "counts": [900, 180], "deciles": deciles},
        country={"missing": 0.0, "values": [["France", 700], ["Spain", 534]]},
    )
    text = admin_client.get(page(ADDRESS)).content.decode()
    assert "Days since the last order: 17" in text
    assert "12.5" in text
    assert 'aria-label="Days since the last order. 0 – 30: 900; 30 – 60: 180"' in text
    assert 'aria-label="Country. France: 700; Spain: 534"' in text
    assert "1,234" in text


def test_columns_of_the_shop_stand_beside_the_others(admin_client):
    AttributeDefinition.objects.create(
        slug="size", label="Shoe size", kind="number", is_feature=True, description="As told at the till."
    )
    AttributeDefinition.objects.create(slug="note", label="Note", kind="text")
    drawn(**{"attribute.size": {"missing": 0.5, "values": [[40.0, 617]]}})
    text = admin_client.get(page(ADDRESS)).content.decode()
    assert "Shoe size" in text
    assert "As told at the till." in text
    assert "40: 617" in text
    assert 'id="attribute-note"' not in text


def test_the_page_looks_at_no_customer(admin_client, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr(topic_words, "SECONDS", 30)  # as it is outside of tests
    monkeypatch.setattr(topic_words, "_kept", None)
    drawn()
    with django_assert_max_num_queries(8) as queries:
        admin_client.get(page(ADDRESS))
    assert not [q for q in queries if "customerfeatures" in q["sql"]]


def test_it_is_for_those_who_may_see_it(client):
    for role, status in (("Analyst", 200), ("Campaign manager", 200), ("Service agent", 403)):
        client.force_login(world.person(role))
        assert client.get(page(ADDRESS)).status_code == status
