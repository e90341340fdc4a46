"""What managers and agents do all day, with the keyboard alone: campaigns, the work list and the review queue."""

from __future__ import annotations

import re

import pytest

from segmentation import policy_backtests, scoring, targets
from segmentation.models import (
    Campaign,
    Customer,
    Decision,
    PolicyBacktest,
    PriorityReview,
    ServicePriority,
    ServicePriorityRule,
    Shop,
)
from tests.browser.keys import focus_on, press
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page
from tests.support import mini_shop

OFTEN = {"field": "feature.orders_lifetime", "op": ">=", "value": 3}


@pytest.fixture(autouse=True)
def shop(transactional_db):
    targets.install()
    Shop.objects.update_or_create(pk=1, defaults={"frozen_on": mini_shop.TODAY})
    return mini_shop.build(30)


def choose(tab, name: str, words: str) -> None:
    """In a list of choices: open it, type what is looked for, take it."""
    focus_on(tab, f"[name='{name}'], [aria-labelledby='select2-id_{name}-container']")
    if tab.evaluate("document.activeElement.tagName") == "SELECT":
        tab.keyboard.type(words)
        return
    press(tab, "Enter")
    tab.keyboard.type(words)
    tab.wait_for_selector(f".select2-results__option--highlighted >> text={words}")
    press(tab, "Enter")


def test_a_campaign_is_built_tried_and_launched(open_page):
    for words in ("Often", "Always"):
        world.segment(words, rule=OFTEN)
    for words in ("Ten percent", "A candle"):
        world.offer(words)
    tab = open_page(page("campaign_add"))
    focus_on(tab, "[name=name]")
    tab.keyboard.type("Thank you")
    focus_on(tab, "[name=budget]")
    tab.keyboard.type("500")
    focus_on(tab, "[name=needs_marketing_consent]")
    press(tab, "Space")
    choose(tab, "rules-0-segment", "Often")
    choose(tab, "rules-0-offer", "Ten percent")
    for _ in range(2):
        focus_on(tab, "a.add-row")
        press(tab, "Enter")
    focus_on(tab, "[name=rules-1-position]")
    press(tab, "Control+a")
    tab.keyboard.type("2")
    choose(tab, "rules-1-segment", "Always")
    choose(tab, "rules-1-offer", "A candle")
    # A third was one too many: the button is the one of its own row.
    focus_on(tab, ".form-group:has([name=rules-2-position]) .delete-template")
    press(tab, "Enter")
    focus_on(tab, "[name=_continue]")
    with tab.expect_navigation():
        press(tab, "Enter")
    assert tab.locator(".errorlist").all_inner_texts() == []
    assert re.search(r"/campaign/\d+/change/", tab.url)
    made = Campaign.objects.get()
    assert (made.name, made.budget_minor, made.needs_marketing_consent) == ("Thank you", 500_00, False)
    assert list(made.rules.values_list("segment__name", "offer__name")) == [
        ("Often", "Ten percent"),
        ("Always", "A candle"),
    ]

    focus_on(tab, "[name=rules-1-DELETE]")
    press(tab, "Space")
    focus_on(tab, "[name=_continue]")
    press(tab, "Enter")
    tab.wait_for_selector("text=was changed successfully")
    assert made.rules.get().offer.name == "Ten percent"

    focus_on(tab, "form[action$='/backtest/'] button")
    press(tab, "Enter")
    tab.wait_for_selector("[data-panel-url$='backtests/']")
    policy_backtests.work(PolicyBacktest.objects.get().pk)
    tab.reload()
    tab.wait_for_selector("text=Ordered after: reached")
    focus_on(tab, "form[action$='/move/running/'] button")
    press(tab, "Enter")
    tab.wait_for_selector("text=The campaign is now: Running")
    made.refresh_from_db()
    assert made.status == "running"
    focus_on(tab, "form[action$='/move/paused/'] button")
    press(tab, "Enter")
    tab.wait_for_selector("text=The campaign is now: Paused")


def test_the_work_list_is_worked(open_page):
    ServicePriorityRule.objects.create(
        position=1, name="Knows us well", level=4, condition=OFTEN, handling="Call back", target_minutes=60
    )
    ids = list(Customer.objects.order_by("pk").values_list("pk", flat=True))
    scoring.score_customers(ids, scoring.pin(), cause=Decision.Cause.BATCH)
    first, second = ServicePriority.objects.order_by("-level", "since", "customer")[:2]
    tab = open_page(page("servicepriority_changelist"))
    for row in (first, second):
        focus_on(tab, f"[formaction$='/{row.pk}/handled/']")
        press(tab, "Enter")
        tab.wait_for_selector(f"text={row.customer.reference} is done.")
    assert ServicePriority.objects.filter(handled_at__isnull=False).count() == 2
    focus_on(tab, "#result_list a[href*='/customer/']")
    press(tab, "Enter")
    tab.wait_for_url(re.compile(r"/customer/\d+/change/"))


def test_reviews_are_answered(open_page):
    rule = ServicePriorityRule.objects.create(position=1, name="Leaving", level=1, condition=OFTEN)
    first, second = (
        PriorityReview.objects.create(customer=customer, rule=rule, level=1, otherwise=2)
        for customer in Customer.objects.order_by("pk")[:2]
    )
    tab = open_page(page("priorityreview_changelist"))
    for row, answer, state in ((first, "approve", "approved"), (second, "refuse", "refused")):
        focus_on(tab, f"[formaction$='/{row.pk}/{answer}/']")
        press(tab, "Enter")
        tab.wait_for_selector("text=Noted; the customer is decided anew in a moment.")
        row.refresh_from_db()
        assert row.state == state
    # Either answer can be changed.
    focus_on(tab, f"[formaction$='/{first.pk}/refuse/']")
    press(tab, "Enter")
    tab.wait_for_selector("text=Noted; the customer is decided anew in a moment.")
    first.refresh_from_db()
    assert first.state == "refused"
