"""Where to draw the line: the page's numbers are those of the list that it exports."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from django.urls import reverse

from segmentation import targets, thresholds
from segmentation.models import AuditEntry, Customer, Score, Target
from tests.segmentation.admin import world

COUNT = 500


def page(name, *args):
    return reverse(f"admin:segmentation_target_{name}", args=args)


@pytest.fixture
def churn(db):
    """500 customers with chances of six decimals, many of them exactly on a thousandth; ten have none."""
    targets.install()
    target = Target.objects.get(slug="churn")
    version = world.version(1)
    rng = np.random.default_rng(1)
    chances = np.round(rng.beta(2, 3, COUNT), 6)
    chances[:200] = np.round(chances[:200], 3)
    people = Customer.objects.bulk_create(Customer(reference=f"=T{n}") for n in range(COUNT + 10))
    Score.objects.bulk_create(
        Score(
            customer=person, target=target, version=version, as_of=dt.date(2024, 6, 2),
            value=chances[n] if n < COUNT else None, abstain_reason="" if n < COUNT else "no_orders",
        )
        for n, person in enumerate(people)
    )  # fmt: skip
    return target, chances


@pytest.mark.parametrize("line", [0.0, 0.137, 0.25, 0.5, 0.501, 0.9, 1.0])
def test_reached_equals_the_exported_list_at_every_line(admin_client, churn, line):
    target, chances = churn
    step = thresholds.at(line, thresholds.steps(target))
    assert step.reached == (chances >= line - 1e-12).sum()
    assert step.caught == pytest.approx(chances[chances >= line - 1e-12].sum())
    answer = admin_client.get(page("threshold_list", target.pk), {"at": line})
    rows = b"".join(answer.streaming_content).decode().splitlines()
    assert len(rows) - 1 == step.reached
    assert AuditEntry.objects.filter(action="threshold.export").count() == 1
    if step.reached:
        assert rows[1].startswith("'=T"), "an id is no formula"


def test_by_capacity_no_more_are_reached_than_can_be(churn):
    target, _chances = churn
    made = thresholds.steps(target)
    for most in (0, 1, 57, 300, 10_000):
        assert thresholds.at(thresholds.by_capacity(made, most), made).reached <= most
    assert thresholds.at(thresholds.by_capacity(made, 10_000), made).reached == COUNT


def test_by_cost_the_line_gains_most_and_nobody_is_reached_in_vain(churn):
    target, chances = churn
    made = thresholds.steps(target)
    costs = thresholds.Costs(contact=2, worth=20, success=0.25)
    line = thresholds.by_cost(made, costs)
    # Reaching pays from the chance at which 20 · 0.25 · chance is 2.
    assert line == pytest.approx(0.4, abs=0.01)
    assert thresholds.by_cost(made, thresholds.Costs(contact=100, worth=1, success=1)) == 1.0
    assert costs.gain(thresholds.at(line, made)) >= max(costs.gain(step) for step in made) - 1e-9
    assert len(chances) == COUNT


def test_the_page_shows_what_the_form_asks(admin_client, churn):
    target, chances = churn
    text = admin_client.get(page("threshold", target.pk), {"by": "hand", "at": "0.5"}).content.decode()
    assert f"<dd data-reached>{(chances >= 0.5).sum()}</dd>" in text
    assert "?at=0.500" in text
    text = admin_client.get(page("threshold", target.pk), {"by": "capacity", "capacity": 40}).content.decode()
    assert "data-reached>40<" in text or "data-reached>39<" in text
    assert admin_client.get(page("threshold", target.pk), {"by": "cost", "worth": "x"}).status_code == 200


@pytest.mark.parametrize("at", ["", "a", "nan", "2", "-1"])
def test_a_line_that_is_none_exports_nothing(admin_client, churn, at):
    assert admin_client.get(page("threshold_list", churn[0].pk), {"at": at}).status_code == 404


def test_only_chances_of_one_thing_have_a_line_and_only_who_sees_scores_may_draw_it(
    client, churn, admin_user
):
    client.force_login(admin_user)
    other = Target.objects.get(slug="future_value")
    assert client.get(page("threshold", other.pk)).status_code == 404
    stranger = type(admin_user).objects.create(username="stranger", is_staff=True)
    client.force_login(stranger)
    assert client.get(page("threshold", churn[0].pk)).status_code == 403
    assert client.get(page("threshold_list", churn[0].pk), {"at": 0.5}).status_code == 403
