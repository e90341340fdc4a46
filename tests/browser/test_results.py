"""The Results page of a campaign: asked for, measured, read, on a wide and a narrow screen."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from segmentation.decisions.codes import Verdict
from segmentation.models import CampaignResult, Membership, Segment
from segmentation.results import measuring
from tests.browser.test_campaigns import picture
from tests.segmentation.admin.world import page
from tests.segmentation.results import world


@pytest.fixture
def spring(transactional_db):
    shop = world.shop()
    shop.frozen_on = world.TODAY
    shop.save()
    made = world.campaign(margin_minor=800, cost_minor=100)
    rules = world.policy(made)
    loyal = Segment.objects.create(slug="loyal", name="Loyal customers")
    random = np.random.default_rng(4)
    for number in range(480):
        customer = world.customer()
        held = number % 4 == 0
        world.decided(
            customer, rules, Verdict.HELD_OUT_CAMPAIGN if held else Verdict.WON, gives=None if held else made
        )
        if number % 3:
            Membership.objects.create(segment=loyal, customer=customer)
            Membership.objects.filter(customer=customer).update(entered_at=world.SINCE - timedelta(days=9))
        world.order(customer, days=-30, amount_minor=int(random.gamma(2, 2000)))
        if random.random() < (0.15 if held else 0.6):
            world.order(customer, days=2, amount_minor=int(random.gamma(2, 2000)))
    return made


def test_a_campaign_is_measured_and_its_result_read(open_page, spring):
    tab = open_page(page("campaign_change", spring.pk))
    tab.get_by_role("link", name="Results").click()
    tab.get_by_role("button", name="Measure now").click()
    tab.get_by_text("A worker is measuring the campaign…").wait_for()
    measuring.work(CampaignResult.objects.latest("pk").pk)
    tab.get_by_text("What it changed").wait_for()
    tab.get_by_text("The campaign raised it").first.wait_for()
    tab.locator("text=Loyal customers >> visible=true").first.wait_for()
    assert tab.locator("canvas").count() == 3
    picture(tab, "campaign-results")
