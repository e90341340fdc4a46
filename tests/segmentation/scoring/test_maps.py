"""Maps of customers: drawn by a worker, coloured on the page, without anybody's name."""

from __future__ import annotations

import pytest
from django.urls import reverse

from segmentation import maps, scoring
from segmentation.dashboard import map_page
from segmentation.models import Customer, CustomerMap


@pytest.fixture
def scored(champion):
    scoring.score_customers(list(Customer.objects.values_list("pk", flat=True)), scoring.pin())


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_is_drawn_and_shown_by_tier_and_risk(scored, admin_client, method):
    answer = admin_client.post(reverse("admin:segmentation_customermap_draw", args=[method]))
    row = CustomerMap.objects.get()
    assert answer["Location"].endswith(f"/{row.pk}/change/")
    assert "A worker is drawing" in admin_client.get(answer["Location"]).content.decode()
    maps.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.error) == ("done", "")
    assert len(row.result["points"]) == row.result["customers"] == 60
    for by in ("tier", "risk", "segment:none", "nonsense"):
        text = admin_client.get(answer["Location"], {"by": by}).content.decode()
        assert 'data-chart="chart-map"' in text
    drawn = map_page.chart(row, "tier")
    assert sum(len(group["data"]) for group in drawn.config["data"]["datasets"]) == 60
    assert ("explained" in row.result) is (method == "pca")
    references = Customer.objects.values_list("reference", flat=True)
    assert not any(name in str(row.result) for name in references)


def test_alike_customers_lie_together(scored):
    """The first axis of a shop of buyers is how much they buy."""
    found = maps.draw("pca")
    place = {tier: [point[0] for point in found["points"] if point[2] == tier] for tier in ("low", "high")}
    means = {tier: sum(values) / len(values) for tier, values in place.items()}
    assert abs(means["high"] - means["low"]) > 1


def test_without_customers_it_says_what_to_do(shop):
    row = maps.ask("pca")
    assert maps.ask("pca") == row, "one at a time"
    maps.work(row.pk)
    row.refresh_from_db()
    assert (row.state, "Classify first" in row.error) == ("failed", True)


def test_unknown_methods_and_strangers_are_refused(shop, admin_client, client):
    address = reverse("admin:segmentation_customermap_draw", args=["umap"])
    assert admin_client.post(address).status_code == 400
    assert client.post(address).status_code == 302
    assert not CustomerMap.objects.exists()
