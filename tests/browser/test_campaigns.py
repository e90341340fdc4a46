"""A campaign from the first click to its decisions, and the service list, as staff use them."""

from __future__ import annotations

import os
import re

import pytest

from segmentation import policy_backtests, scoring, targets
from segmentation.models import (
    Campaign,
    Customer,
    Decision,
    PolicyBacktest,
    PriorityReview,
    ServicePriorityRule,
    Shop,
)
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page
from tests.support import mini_shop

DIFFER = "Those reached and the others differ because the rule picks them: the difference is not the effect of an offer."
OFTEN = {"field": "feature.orders_lifetime", "op": ">=", "value": 3}


@pytest.fixture(autouse=True)
def shop(transactional_db):
    targets.install()
    Shop.objects.update_or_create(pk=1, defaults={"frozen_on": mini_shop.TODAY})
    return mini_shop.build(60)


def classify() -> None:
    ids = list(Customer.objects.order_by("pk").values_list("pk", flat=True))
    scoring.score_customers(ids, scoring.pin(), cause=Decision.Cause.BATCH)


def picture(tab, name: str) -> None:
    """Kept for people when TIERWISE_PICTURES names a folder; each page must fit a phone either way."""
    folder = os.environ.get("TIERWISE_PICTURES")
    for width in (1280, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(150)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name
        if folder:
            tab.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)
    tab.set_viewport_size({"width": 1280, "height": 900})


def test_a_campaign_is_built_tried_launched_looked_at_and_paused(speech):
    whom, gives = world.segment("Often", rule=OFTEN), world.offer("Ten percent")
    classify()
    tab = speech.opens(page("campaign_add"))
    tab.fill("[name=name]", "Thank you")
    tab.locator("select[name=rules-0-segment]").select_option(str(whom.pk), force=True)
    tab.locator("select[name=rules-0-offer]").select_option(str(gives.pk), force=True)
    tab.fill("[name=budget]", "500")
    tab.locator("[name=needs_marketing_consent]").uncheck()
    picture(tab, "campaign-form")
    tab.locator("[name=_continue]").click()
    tab.wait_for_url(re.compile(r"/campaign/\d+/change/"))
    made = Campaign.objects.get()
    assert (made.name, made.budget_minor) == ("Thank you", 500_00)

    tab.get_by_role("button", name=speech.says("Try on these days")).click()
    tab.wait_for_selector("[data-panel-url$='backtests/']")
    policy_backtests.work(PolicyBacktest.objects.get().pk)
    tab.reload()
    tab.wait_for_selector(f"text={speech.says(DIFFER)}")
    tab.wait_for_selector("[data-reach=gets]")
    picture(tab, "campaign")

    tab.get_by_role("button", name=speech.says("Start now")).click()
    tab.wait_for_selector(
        f"text={speech.says('The campaign is now: %(state)s') % {'state': speech.says('Running')}}"
    )
    classify()
    tab.get_by_role("link", name=speech.says("Decisions"), exact=True).last.click()
    tab.wait_for_url(re.compile(r"/decision/"))
    assert tab.locator("text=Thank you").count() > 1
    picture(tab, "decisions")

    tab.goto(tab.url.split("/admin/")[0] + page("campaign_change", made.pk))
    tab.get_by_role("button", name=speech.says("Pause")).click()
    tab.wait_for_selector(
        f"text={speech.says('The campaign is now: %(state)s') % {'state': speech.says('Paused')}}"
    )
    classify()
    assert not Customer.objects.filter(current_offer=gives).exists()


def test_support_reads_why_not(speech):
    made = world.campaign(world.segment("Often", rule=OFTEN), world.offer(), needs_marketing_consent=False)
    from segmentation import campaigns

    campaigns.move(made, "running")
    classify()
    without = Decision.objects.filter(campaign=None).order_by("pk")[0].customer_id
    tab = speech.opens(page("customer_change", without))
    picture(tab, "customer")
    tab.locator("#why-campaign").select_option(str(made.pk))
    tab.get_by_role("button", name=speech.says("Show"), exact=True).click()
    tab.wait_for_selector(f"text={speech.says('Why not')}")
    tab.locator("details summary").first.click()
    assert speech.says("at least %(value)s") % {"value": 3} in tab.content()
    picture(tab, "why-not")


def test_the_service_list_is_worked(speech):
    ServicePriorityRule.objects.create(
        position=1, name="Knows us well", level=4, condition=OFTEN, handling="Call back", owner="Key accounts",
        target_minutes=60,
    )  # fmt: skip
    classify()
    tab = speech.opens(page("servicepriority_changelist"))
    rows = tab.locator("#result_list tbody tr")
    before = rows.count()
    assert before > 3
    assert tab.locator("text=Call back").count() >= before
    picture(tab, "service-list")
    handled = speech.says("%(customer)s is handled") % {"customer": ""}
    tab.get_by_role("button", name=re.compile(handled.strip())).first.click()
    done = speech.says("%(customer)s is done.") % {"customer": ""}
    tab.wait_for_selector(f"text={done.strip()}")
    assert rows.count() == before - 1


def test_a_review_is_answered_in_the_queue_and_on_its_page(speech):
    rule = ServicePriorityRule.objects.create(position=1, name="Leaving", level=1, condition=OFTEN)
    first, second = (
        PriorityReview.objects.create(customer=customer, rule=rule, level=1, otherwise=2)
        for customer in Customer.objects.order_by("pk")[:2]
    )
    tab = speech.opens(page("priorityreview_changelist"))
    assert "<button" not in tab.inner_text("body")
    picture(tab, "reviews")
    tab.get_by_role(
        "button", name=f"{first.customer.reference}: {speech.says('May wait')}", exact=True
    ).click()
    tab.wait_for_selector(f"text={speech.says('Noted; the customer is decided anew in a moment.')}")
    first.refresh_from_db()
    assert first.state == "approved"
    tab.goto(tab.url.split("/admin/")[0] + page("priorityreview_change", second.pk))
    picture(tab, "review")
    tab.get_by_role("button", name=speech.says("May not"), exact=True).click()
    tab.wait_for_url(re.compile(r"/priorityreview/$"))
    second.refresh_from_db()
    assert second.state == "refused"


def test_an_offers_text_is_previewed_with_its_codes(open_page):
    made = world.offer("Ten percent")
    made.text, made.codes = "{percentage} % for {reference}, with {code} until {valid_until}", "pool"
    made.save()
    tab = open_page(page("offer_change", made.pk))
    tab.wait_for_selector("text=10 % for M59, with CODE until")
    tab.set_input_files("#codes-file", {"name": "c.csv", "mimeType": "text/csv", "buffer": b"A1\nA2\n"})
    tab.get_by_role("button", name="Add codes").click()
    tab.wait_for_selector("text=2 codes are new")
    tab.wait_for_selector("text=2 of 2 codes are left")
    picture(tab, "offer")
