"""Reasons are found on request, kept with the score they belong to, and read in words."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from django.urls import reverse

from segmentation import reasons, scoring, serving
from segmentation.dashboard import score_views
from segmentation.jobs import Job
from segmentation.ml.classical import LogisticEstimator
from segmentation.ml.predictor import Predictor
from segmentation.ml.schema import STANDARD_TARGETS, Column, Frame
from segmentation.models import Customer, CustomerFeatures, Decision, ModelVersion, Score, Shop, Target
from tests.segmentation.scoring.conftest import FEATURES

COLUMNS = [Column(name, "numeric") for name in FEATURES] + [Column("country", "categorical")]
ROWS = 400


@pytest.fixture(scope="module")
def learned():
    """A linear model that has seen: long silence means leaving, many orders mean spending."""
    rng = np.random.default_rng(1)
    recency, orders = rng.uniform(0, 365, ROWS), rng.integers(1, 20, ROWS).astype(float)
    frame = Frame(
        ids=np.arange(ROWS),
        cutoffs=np.zeros(ROWS, dtype="datetime64[D]"),
        x=pl.DataFrame(
            {"recency_days": recency, "orders_lifetime": orders, "country": rng.choice(["GB", "FR"], ROWS)}
        ),
        labels={
            "churn": (recency + rng.normal(0, 60, ROWS) > 180).astype(float),
            "value_tier": np.minimum(orders // 5, 3).astype(int),
            "future_value": np.where(recency < 200, orders * 10.0, 0.0),
        },
    )
    return Predictor(LogisticEstimator(targets=STANDARD_TARGETS, columns=COLUMNS).fit(frame, frame))


@pytest.fixture
def customer(champion, learned, monkeypatch):
    """Somebody with orders, scored."""
    monkeypatch.setattr(serving, "predictor", lambda version: learned)
    ModelVersion.objects.update(features=[*FEATURES, "country"])
    pinned = scoring.pin()
    everybody = list(Customer.objects.values_list("pk", flat=True))
    scoring.score_customers(everybody, pinned, cause=Decision.Cause.BATCH)
    return Score.objects.filter(abstain_reason="").order_by("customer").first().customer


def of(customer, slug="churn"):
    return Score.objects.get(customer=customer, target__slug=slug).reasons


def test_every_score_gets_its_reasons_with_the_values_seen(customer):
    assert reasons.explain(customer.pk) == 3
    found = of(customer)
    assert found["members"] == ["logistic"]
    shares = {name: (share, value) for name, share, value in found["shares"]}
    assert set(shares) == {"recency_days", "orders_lifetime", "country"}
    seen = scoring.compute([customer.pk], scoring.pin()).features.row(0, named=True)
    assert {name: value for name, (_share, value) in shares.items()} == {name: seen[name] for name in shares}
    assert found["usual_gap_days"] == seen["gap_mean_days"]


def test_the_share_follows_the_value(customer):
    long_silent, recent = (
        Score.objects.filter(target__slug="churn", abstain_reason="").order_by(order).first().customer
        for order in ("-value", "value")
    )
    for one, sign in ((long_silent, 1), (recent, -1)):
        reasons.explain(one.pk)
        assert next(share for name, share, _ in of(one)["shares"] if name == "recency_days") * sign > 0


def test_nothing_is_worked_out_twice(customer):
    reasons.explain(customer.pk)
    assert reasons.explain(customer.pk) == 0
    assert not reasons.ask(customer.pk)


def test_who_abstained_has_nothing_to_explain(customer):
    Score.objects.filter(customer=customer).update(abstain_reason="no_orders")
    assert not reasons.ask(customer.pk)
    assert reasons.explain(customer.pk) == 0


def test_a_new_score_has_no_reasons_yet(customer):
    reasons.explain(customer.pk)
    Score.objects.filter(customer=customer).update(as_of="2020-01-01")
    scoring.score_customers([customer.pk], scoring.pin(), cause=Decision.Cause.BATCH)
    assert of(customer) is None


def test_reasons_of_a_score_that_was_replaced_meanwhile_are_dropped(customer, monkeypatch):
    work = reasons._reasons

    def meanwhile(score, frame):
        Score.objects.filter(customer=customer).update(input_version=score.input_version + 1)
        return work(score, frame)

    monkeypatch.setattr(reasons, "_reasons", meanwhile)
    reasons.explain(customer.pk)
    assert of(customer) is None


def test_features_of_an_older_catalogue_explain_nothing_and_nobody_waits(customer):
    CustomerFeatures.objects.filter(customer=customer).update(catalogue_version="older")
    assert reasons.explain(customer.pk) == 3
    assert of(customer) == reasons.NONE


def test_windows_of_one_thing_are_one_reason():
    shares = {"orders_30d": 0.2, "orders_90d": 0.5, "orders_lifetime": -0.1, "country": -0.3, "channel": 0.0}
    assert reasons.strongest(shares) == [("orders_90d", pytest.approx(0.6)), ("country", -0.3)]


# --- the page
@pytest.fixture
def nudges(monkeypatch, settings):
    sent = []
    monkeypatch.setattr("segmentation.jobs._sender", lambda path: lambda job, ids: sent.append((job, ids)))
    return sent


def url(name, customer):
    return reverse(f"admin:segmentation_customer_{name}", args=[customer.pk])


@pytest.mark.parametrize("method", ["labelled", "anomaly"])
def test_a_risk_has_no_class_to_speak_for_and_says_so_in_words(method):
    score = Score(target=Target(slug="odd", kind="risk", settings={"method": method}), value=0.9)
    known = {"shares": [["orders_lifetime", 0.5, 3.0], ["recency_days", -0.5, 9.0]]}
    titles = [str(side.title) for side in score_views.sides(score, known, Shop())]
    assert titles == ["Speaks for the risk", "Speaks against the risk"]


def test_the_page_asks_a_worker_and_shows_what_it_found(
    admin_client, customer, nudges, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        page = admin_client.get(url("change", customer)).content.decode()
    assert (Job.EXPLAIN, {"customer_id": customer.pk}) in nudges
    assert url("scores", customer) in page
    assert admin_client.get(url("scores", customer)).status_code == 202
    reasons.explain(customer.pk)
    panel = admin_client.get(url("scores", customer))
    assert panel.status_code == 200
    said = panel.content.decode()
    assert "Speaks for" in said
    assert "No order for" in said
    assert "usually one every" in said
    assert "Found by terms of the linear model" in said
    assert said.strip().splitlines()[0] in admin_client.get(url("change", customer)).content.decode()


def test_a_page_with_reasons_asks_nobody(admin_client, customer, nudges, django_capture_on_commit_callbacks):
    reasons.explain(customer.pk)
    with django_capture_on_commit_callbacks(execute=True):
        page = admin_client.get(url("change", customer)).content.decode()
    assert Job.EXPLAIN not in {job for job, _ids in nudges}
    assert "data-panel-url" not in page


def test_reasons_need_the_right_to_see_customers(client, customer, django_user_model):
    client.force_login(django_user_model.objects.create_user("outsider", is_staff=True))
    assert client.get(url("scores", customer)).status_code == 403
