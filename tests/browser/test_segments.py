"""A segment from the first condition to a restored version, with the keyboard alone, on a laptop and on a phone."""

from __future__ import annotations

import re

import pytest

from segmentation import scoring, segments, targets
from segmentation.models import Customer, Event, Segment
from tests.browser import keys
from tests.browser.keys import press
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

TOYS = {
    "event": {"kind": ["order_placed"], "category": ["Candles"], "amount": {"op": ">", "value": 20}, "within_days": 30},
    "op": ">=",
    "value": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def buyers(transactional_db):
    """Three customers with one, two and three orders, classified as of today."""
    from django.utils import timezone

    targets.install()
    now = timezone.now()
    for orders in (1, 2, 3):
        who = world.customer(f"K-{orders}")
        for _ in range(orders):
            world.order(who, at=now, amount_minor=2500)
    # The category of what they bought has number 1.
    Event.objects.update(category_mask=1 << 1)
    ids = list(Customer.objects.values_list("pk", flat=True))
    scoring.score_customers(ids, scoring.pin())


def focus_on(tab, key):
    """A control of the rule builder."""
    keys.focus_on(tab, f"[data-key='{key}']")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_segment_is_built_previewed_saved_edited_and_restored_with_the_keyboard(speech, width):
    tab = speech.opens(page("segment_add"), width=width)
    tab.wait_for_selector(".tw-group")
    tab.focus("[name=name]")
    tab.keyboard.type("Candle lovers")
    focus_on(tab, "all[0]:field")
    tab.locator("[data-key='all[0]:field']").select_option("event:count")
    focus_on(tab, "all[0].event.amount.op")
    press(tab, "ArrowDown", "ArrowDown")
    focus_on(tab, "all[0]:op")
    focus_on(tab, "all[0]:value")
    press(tab, "Control+a")
    tab.keyboard.type("2")
    tab.wait_for_selector("[data-reach=count][data-final=true] >> text=/^2$/")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    focus_on(tab, "test:number")
    tab.keyboard.type("K-1")
    press(tab, "Enter")
    tab.wait_for_selector("[data-test-verdict] >> text=K-1")
    verdict = tab.inner_text("[data-test-verdict]")
    assert speech.language != "en" or (
        "does not fit" in verdict and "is 1 time, needs at least 2 times" in verdict
    )
    assert speech.language == "en" or ("1" in verdict and "2" in verdict and "needs" not in verdict)
    tab.locator("[name=_continue]").focus()
    press(tab, "Enter")
    tab.wait_for_selector(f"text={speech.says('Versions of the rule')}")
    made = Segment.objects.get()
    assert made.version.rule["all"][0]["event"]["kind"] == ["order_placed"]
    tab.wait_for_selector(".tw-group")
    focus_on(tab, "all[0]:value")
    press(tab, "Control+a")
    tab.keyboard.type("3")
    tab.wait_for_selector("[data-reach=count][data-final=true] >> text=/^1$/")
    tab.locator("[name=_continue]").focus()
    press(tab, "Enter")
    restore = speech.says("Restore version %(number)s") % {"number": 1}
    tab.wait_for_selector(f"button[aria-label='{restore}']")
    tab.focus(f"button[aria-label='{restore}']")
    press(tab, "Enter")
    said = speech.says("Version %(old)d is restored as version %(new)d.") % {"old": 1, "new": 3}
    tab.wait_for_selector(f"text={said}")
    made.refresh_from_db()
    assert (made.version.number, made.version.rule["all"][0]["value"]) == (3, 2)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_text_and_conditions_follow_each_other(open_page):
    tab = open_page(page("segment_add"))
    tab.wait_for_selector(".tw-group")
    tab.click("[data-rule-text] summary")
    area = tab.locator("[data-rule-text-input]")
    area.fill('count of order_placed (category in ("Candles"), within 30 days) >= 3')
    tab.wait_for_selector("[data-key='all[0].event.category']")
    assert tab.locator("[data-key='all[0].event.category']").input_value() == "Candles"
    tab.wait_for_selector("[data-reach=count][data-final=true] >> text=/^1$/")
    area.fill("all(nonsense")
    tab.wait_for_selector("[data-rule-text-error]:visible >> text=Line 1")
    area.fill("feature.orders_90d >= 1")
    tab.wait_for_selector("[data-reach=count][data-final=true] >> text=/^3$/")
    tab.locator("[data-key='all[0]:value']").fill("2")
    tab.wait_for_function("document.querySelector('[data-rule-text-input]').value.includes('>= 2')")
    assert "Orders" in tab.inner_text("[data-rule-words]")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_around_segments_fit_the_screen(open_page, width):
    made = world.segment(rule={"all": [TOYS]})
    segments.save_rule(made, {"any": [TOYS]})
    tab = open_page(page("segment_change", made.pk), width=width)
    tab.wait_for_selector(".tw-event")
    tab.wait_for_selector("[data-rule-beside] summary")
    tab.click("[data-rule-beside] summary")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = tab.locator(".tw-rule :is(select, input, button):not([aria-label])").evaluate_all(
        "all => all.filter((one) => !one.textContent.trim()).length"
    )
    assert unnamed == 0
    for name, args in (
        ("segment_templates", ()), ("segment_new_list", ()), ("segment_migration", ()),
        ("segment_members", (made.pk,)), ("segment_changelist", ()),
    ):  # fmt: skip
        tab.goto(re.sub("/admin/.*", page(name, *args), tab.url))
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name
