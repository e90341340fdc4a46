"""Products bought next: methods judged by a later window, lists kept for customers and shown on their page."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from django.urls import reverse
from scipy import sparse

from segmentation import promotion_diffs, purchases, registry, suggested, suggestions, targets
from segmentation.dashboard import diff_page
from segmentation.ml import recommending
from segmentation.models import (
    Customer,
    Event,
    EventItem,
    EventSource,
    LeaseState,
    ModelVersion,
    Product,
    ProductSuggestion,
    Shop,
    Target,
)
from tests.segmentation.learning.conftest import train

TODAY = dt.date(2024, 3, 1)


@pytest.fixture
def shop(db):
    """240 customers who each buy from one of three shelves of ten products, and a sofa that is bought once."""
    shop = Shop.get()
    shop.frozen_on = TODAY
    shop.save()
    source = EventSource.objects.create(slug="shelves")
    products = Product.objects.bulk_create(
        Product(external_id=f"P{n}", name=f"{['lamp', 'spoon', 'rope'][n // 10]} number {n}")
        for n in range(30)
    )
    sofa, gone = Product.objects.bulk_create(
        [Product(external_id="S", name="Sofa"), Product(external_id="G", name="Gone")]
    )
    rng = np.random.default_rng(1)
    people = Customer.objects.bulk_create(Customer(reference=f"N{n}") for n in range(240))
    for number, person in enumerate(people):
        for order in range(6):
            at = dt.datetime(2023, 4, 1, 12, tzinfo=dt.UTC) + dt.timedelta(
                days=55 * order + int(rng.integers(40))
            )
            event = Event.objects.create(
                customer=person, kind=1, occurred_at=at, received_at=at, source=source,
                source_key=f"{number}-{order}", amount_minor=1000, quantity=3, line_count=3,
            )  # fmt: skip
            shelf = rng.choice(10, 3, replace=False) + 10 * (number % 3)
            bought = [products[int(n)] for n in shelf]
            if order == 0:
                bought += [sofa, gone]
            EventItem.objects.bulk_create(EventItem(event=event, product=product) for product in bought)
    return shop


def test_the_best_method_serves_and_everybody_has_a_list(shop, admin_client):
    target = targets.make("next", kind="next_products", horizon_days=60)
    run = train([target])
    assert (run.state, run.error) == (LeaseState.DONE, "")
    version = ModelVersion.objects.get()
    found = version.evaluation["next"]
    assert set(found["methods"]) == set(recommending.METHODS)
    assert found["served"] != "popularity", "shelves tell more than what most buy"
    assert found["differences"][found["served"]]["recall_10"]["low"] > 0
    assert ProductSuggestion.objects.count() == 240
    row = ProductSuggestion.objects.select_related("customer").first()
    ((_target, _version, listed),) = suggested.of_customer(row.customer_id)
    names = [product.name for product, _score in listed]
    own = {["lamp", "spoon", "rope"][int(row.customer.reference[1:]) % 3]}
    assert {name.split()[0] for name in names[:8]} == own
    assert "Sofa" not in names, "nobody buys it twice, and this customer has it"
    assert "Gone" not in names, "nobody bought it for two months"
    text = admin_client.get(
        reverse("admin:segmentation_customer_change", args=[row.customer_id])
    ).content.decode()
    assert names[0] in text
    assert "likely to buy in the next 60 days" in text
    page = admin_client.get(
        reverse("admin:segmentation_modelversion_change", args=[version.pk])
    ).content.decode()
    assert "Matrix factorisation" in page
    assert (
        admin_client.get(reverse("admin:segmentation_modelversion_card", args=[version.pk])).status_code
        == 200
    )


def test_the_newest_serves_unless_only_a_person_promotes(shop):
    target = targets.make("next", kind="next_products", horizon_days=60)
    train([target])
    second = train([target])
    assert registry.champion(target).training_run == second
    assert second.summary["versions"][0]["targets"]["next"]["verdict"] == "newest"
    Target.objects.update(promotes=Target.Promotes.BY_HAND)
    train([target])
    assert registry.champion(target).training_run == second
    waiting = ModelVersion.objects.latest("pk")
    row = promotion_diffs.ask(target, waiting)
    promotion_diffs.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.error) == ("done", "")
    assert "240 customers have a list of products" in diff_page.build(row, Shop.get()).summary[0]
    assert {row.version.training_run for row in ProductSuggestion.objects.select_related("version")} == {
        second
    }


def test_a_customer_who_left_has_no_list_any_more_and_who_refuses_is_not_read(shop):
    target = targets.make("next", kind="next_products", horizon_days=60)
    train([target])
    refused = Customer.objects.first()
    Customer.objects.filter(pk=refused.pk).update(is_profiled=False)
    suggestions.refresh_all(as_of=TODAY + dt.timedelta(days=1), shop=shop)
    assert not ProductSuggestion.objects.filter(customer=refused).exists()
    assert ProductSuggestion.objects.count() == 239


def test_too_little_is_refused_with_the_numbers(shop):
    EventItem.objects.filter(product__external_id__in=[f"P{n}" for n in range(12, 30)]).delete()
    run = train([targets.make("next", kind="next_products", horizon_days=60)])
    assert run.state == LeaseState.FAILED
    assert "needs 20 products bought, has 14" in run.error


def test_learning_sees_nothing_of_the_test_window(shop):
    as_of = TODAY + dt.timedelta(days=1)
    lines = purchases.read(as_of=as_of, shop=shop)
    assert lines.day.max() < as_of.toordinal()
    assert (np.diff(lines.day) >= 0).all()


def counts():
    table = np.array([[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 3, 1], [0, 0, 1, 1], [0, 0, 2, 0]], dtype=float)
    content = sparse.csr_matrix(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]))
    return recommending.Purchases(sparse.csr_matrix(table), sparse.csr_matrix((table > 0) * 1.0), content)


@pytest.mark.parametrize("name", ["item_knn", "factors", "content"])
def test_methods_stay_on_the_customers_shelf(name):
    bought = counts()
    state = recommending.fit(name, bought, seed=1)
    values = recommending.scores(name, state, bought.counts)
    best = recommending.top(values, allowed=np.ones(4, dtype=bool), most=2)
    assert [set(row) for row in best.tolist()] == [{0, 1}, {0, 1}, {2, 3}, {2, 3}, {2, 3}]


def test_popularity_counts_customers_and_figures_are_those_of_the_definitions():
    bought = counts()
    state = recommending.fit("popularity", bought, seed=1)
    assert state["popularity"].tolist() == [2, 2, 3, 2]
    named = np.array([[2, 0, 1]])
    assert recommending.recall(named, [{0, 3}]).tolist() == [0.5]
    gain = (1 / np.log2(3)) / (1 / np.log2(2) + 1 / np.log2(3))
    assert recommending.ndcg(named, [{0, 3}])[0] == pytest.approx(gain)
    best = recommending.top(np.array([[1.0, 2, 3, 4]]), allowed=np.array([True, True, True, False]), most=2)
    assert best.tolist() == [[2, 1]]
