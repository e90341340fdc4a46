"""What another choice would have brought: asked and read on the campaign's page."""

from __future__ import annotations

import pytest

from segmentation import choices, estimates, targets
from segmentation.models import Campaign, Grant, PolicyEstimate
from tests.browser.test_campaigns import picture
from tests.segmentation import test_estimates as known
from tests.segmentation.admin.world import page


@pytest.fixture(autouse=True)
def _targets(transactional_db):
    targets.install()


def test_another_choice_is_asked_about_and_the_answer_read(open_page, monkeypatch):
    monkeypatch.setattr(known.holdouts.secrets, "token_hex", lambda *_size: known.SALT)
    made = known.played(400)
    known.draft((known.FREQUENT, known.offer("gift")), (known.SELDOM, known.offer("ten")))
    choices.refresh(Campaign.objects.get(pk=made.pk))
    assert Grant.objects.exists()
    tab = open_page(page("campaign_change", made.pk))
    tab.get_by_text("Nothing was asked yet").wait_for()
    tab.get_by_label("The other choice").select_option(label="Campaign Draft")
    tab.get_by_role("button", name="Estimate").click()
    tab.wait_for_selector("[data-panel-url$='estimates/']")
    estimates.work(PolicyEstimate.objects.get().pk)
    tab.reload()
    tab.wait_for_selector("[data-estimate=answer]")
    assert "More would have ordered" in tab.inner_text("[data-estimate=answer]")
    picture(tab, "estimate")
    tab.get_by_label("The other choice").select_option(label="Ten for everybody")
    tab.get_by_label("followed for days").fill("365")
    tab.get_by_role("button", name="Estimate").click()
    tab.wait_for_selector("[data-panel-url$='estimates/']")
    estimates.work(PolicyEstimate.objects.order_by("pk").last().pk)
    tab.reload()
    tab.wait_for_selector("[data-estimate=answer]")
