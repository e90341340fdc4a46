"""The Results page and its doors: what staff read in each state, who may ask, what bad input gets; and the night."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import time_machine

from crm_integration import deliveries
from crm_integration.models import OutboundMessage
from segmentation.decisions.codes import Verdict
from segmentation.models import CampaignResult, Decision, LeaseState
from segmentation.results import measuring
from tests.crm_integration import fixtures
from tests.segmentation.admin import world as console
from tests.segmentation.admin.world import page
from tests.segmentation.results import world
from workers import sweeps

pytestmark = pytest.mark.django_db


@pytest.fixture
def spring():
    shop = world.shop()
    shop.frozen_on = world.TODAY
    shop.save()
    return world.campaign(margin_minor=800)


@pytest.fixture
def manager(client):
    client.force_login(console.person("Campaign manager"))
    return client


def arms(spring, *, treated=60, control=60, buyers=40, loyal=6) -> None:
    rules = world.policy(spring)
    for number in range(treated):
        customer = world.customer()
        world.decided(customer, rules, Verdict.WON, gives=spring)
        if number < buyers:
            world.order(customer, days=2)
    for number in range(control):
        customer = world.customer()
        world.decided(customer, rules, Verdict.HELD_OUT_CAMPAIGN)
        if number < loyal:
            world.order(customer, days=2)


def shown(client, spring) -> str:
    answer = client.get(page("campaign_results", spring.pk))
    assert answer.status_code == 200
    return answer.content.decode()


def measured(spring) -> CampaignResult:
    row = measuring.request(spring)
    measuring.work(row.pk)
    row.refresh_from_db()
    assert row.state == LeaseState.DONE, row.error
    return row


def test_from_nothing_to_a_clear_result(manager, spring):
    assert "Not measured yet" in shown(manager, spring)
    answer = manager.post(page("campaign_measure", spring.pk), {"window_days": 30, "relevant_percent": 10})
    assert answer.status_code == 302
    assert "A worker is measuring" in shown(manager, spring)
    assert manager.get(page("campaign_results_state", spring.pk)).json() == {"waiting": True}
    arms(spring)
    measuring.work(CampaignResult.objects.get().pk)
    assert manager.get(page("campaign_results_state", spring.pk)).json() == {"waiting": False}
    text = shown(manager, spring)
    assert "The campaign raised it: +56.67 points" in text
    assert (
        text.index("Customers who ordered") < text.index("Spend a customer") < text.index("Margin a customer")
    )
    assert "66.7" in text
    assert "10.0" in text
    assert 'data-chart="chart-result-conversion"' in text
    assert "result-margin" in text


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ({"treated": 0, "control": 0}, "Nobody was held out"),
        ({"control": 0}, "Nobody was held out"),
        ({"treated": 0}, "days are over in one of the arms yet"),
        ({"treated": 20, "control": 20, "buyers": 2}, "the interval holds zero"),
        ({"buyers": 0, "loyal": 20}, "The campaign lowered it"),
    ],
)
def test_every_state_is_said_in_words(manager, spring, made, sentence):
    arms(spring, **made)
    measured(spring)
    assert sentence in shown(manager, spring)


def test_of_an_ended_campaign_no_more_is_promised(manager, spring):
    arms(spring, treated=20, control=20, buyers=2)
    spring.status = "ended"
    spring.save()
    measured(spring)
    assert "The campaign has ended" in shown(manager, spring)


def test_a_failed_measurement_is_told_beside_the_last_result(manager, spring):
    arms(spring)
    measured(spring)
    CampaignResult.objects.create(campaign=spring, state=LeaseState.FAILED, error="It broke.")
    text = shown(manager, spring)
    assert "It broke." in text
    assert "The campaign raised it" in text


@pytest.mark.parametrize(
    "given", [{}, {"window_days": "x", "relevant_percent": 10}, {"window_days": 0, "relevant_percent": 10},
              {"window_days": 30, "relevant_percent": 9999}]
)  # fmt: skip
def test_bad_numbers_are_refused_with_a_sentence(manager, spring, given):
    answer = manager.post(page("campaign_measure", spring.pk), given, follow=True)
    assert answer.status_code == 200
    assert not CampaignResult.objects.exists()
    assert answer.context["messages"]


def test_who_may_not_ask_or_look(client, spring):
    client.force_login(console.person("Service agent"))
    assert client.get(page("campaign_results", spring.pk)).status_code == 403
    assert client.get(page("campaign_results_state", spring.pk)).status_code == 403
    assert client.post(page("campaign_measure", spring.pk)).status_code == 403
    client.force_login(console.person("Auditor"))
    assert client.get(page("campaign_results", spring.pk)).status_code == 200
    assert client.post(page("campaign_measure", spring.pk)).status_code == 403
    assert client.get(page("campaign_results", 999)).status_code == 404
    assert not CampaignResult.objects.exists()


def test_the_page_takes_as_many_queries_whatever_the_result_holds(
    manager, spring, django_assert_max_num_queries
):
    arms(spring)
    measured(spring)
    shown(manager, spring)
    with django_assert_max_num_queries(16):
        shown(manager, spring)


def test_deliveries_are_counted_by_customer(spring):
    assert deliveries.delivered(spring.pk) is None
    arms(spring, treated=3, control=1, buyers=0)
    connection = fixtures.connection("standard")
    for decision in Decision.objects.filter(campaign=spring)[:2]:
        OutboundMessage.objects.create(
            connection=connection,
            message_id=f"decision_{decision.pk}",
            topic="decision.made",
            body=b"{}",
            customer=decision.customer,
            delivered_at=world.SINCE,
        )
    assert deliveries.delivered(spring.pk) == 2
    assert measured(spring).result["delivered"] == 2


def test_the_night_measures_once(spring):
    shop = world.shop()
    shop.frozen_on = None
    shop.save()
    for hour, count in ((3, 0), (6, 1), (7, 1)):
        with time_machine.travel(datetime(2026, 6, 30, hour, tzinfo=UTC)):
            sweeps.start_nightly_measurements()
        assert CampaignResult.objects.count() == count
    CampaignResult.objects.update(state=LeaseState.DONE)
    with time_machine.travel(datetime(2026, 7, 1, 6, tzinfo=UTC)):
        sweeps.start_nightly_measurements()
    assert CampaignResult.objects.count() == 2
