"""Single products in the rule builder, and what a manager reads before deciding: past days, and the demand outlook."""

from __future__ import annotations

import pytest

from segmentation.demand import outlooks
from segmentation.kinds import EventKind
from segmentation.models import (
    Category,
    Customer,
    DemandOutlook,
    Event,
    EventItem,
    Product,
    Segment,
    ServicePriorityRule,
)
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page
from tests.support import mini_shop

WIDTHS = pytest.mark.parametrize("width", [1280, 390])


def fits(tab, width):
    return tab.evaluate("document.documentElement.scrollWidth") <= width


@WIDTHS
def test_a_product_is_asked_for_in_the_builder(open_page, width):
    """By its number, its name, its price: the rule reads as a sentence, and an unknown number is named at its place."""
    bought = world.order(world.customer("K-1"))
    product = Product.objects.get()
    product.name = "Teddy bear"
    product.save()
    assert EventItem.objects.filter(event=bought).exists()
    tab = open_page(page("segment_add"), width=width)
    tab.wait_for_selector(".tw-group")
    tab.fill("[name=name]", "Bears")
    tab.locator("[data-key='all[0]:field']").select_option("event:count")
    tab.locator("[data-key='all[0].event.product.which']").select_option("id")
    tab.fill("[data-key='all[0].event.product.id']", "nothing-such")
    tab.wait_for_selector(".tw-node-error >> text=no product with the number")
    tab.fill("[data-key='all[0].event.product.id']", product.external_id)
    tab.locator("[data-key='all[0].event.product.price.op']").select_option("<")
    tab.fill("[data-key='all[0].event.product.price.value']", "9.5")
    tab.wait_for_selector(f"text=product Teddy bear ({product.external_id})")
    assert fits(tab, width)
    tab.locator("[data-key='all[0].event.product.which']").select_option("name:contains")
    tab.fill("[data-key='all[0].event.product.name']", "bear")
    tab.locator("[name=_continue]").click()
    tab.wait_for_selector("text=Versions of the rule")
    event = Segment.objects.get().version.rule["all"][0]["event"]
    assert event["product"] == {
        "name": {"op": "contains", "value": "bear"},
        "price": {"op": "<", "value": 9.5},
    }
    tab.wait_for_selector("[data-key='all[0].event.product.name']")
    assert tab.input_value("[data-key='all[0].event.product.name']") == "bear"
    tab.wait_for_selector("text=Not tried on past days yet")
    assert fits(tab, width)


@WIDTHS
def test_an_outlook_is_asked_for_and_read(open_page, width):
    mini_shop.build(60)
    toys = Category.objects.create(name="Toys", number=0)
    teddy = Product.objects.create(external_id="T1", name="Teddy bear with a rather long name", category=toys)
    orders = Event.objects.filter(kind=EventKind.ORDER_PLACED)
    EventItem.objects.bulk_create(EventItem(event=order, product=teddy) for order in orders)
    tab = open_page(page("demandoutlook_changelist"), width=width)
    tab.select_option("#outlook-weeks", "2")
    tab.click("text=Work out the outlook")
    tab.wait_for_selector("text=A worker is working it out")
    outlooks.work(DemandOutlook.objects.get().pk)
    tab.wait_for_selector("text=How customers move")
    shown = tab.inner_text("body")
    for words in ("Teddy bear with a rather long name (T1)", "Toys", "missed by", "not seasons"):
        assert words in shown
    assert fits(tab, width)


@WIDTHS
def test_a_priority_rule_and_an_offer_say_what_they_would_do(open_page, width):
    rule = ServicePriorityRule.objects.create(position=1, name="VIP", level=4, segment=world.segment())
    tab = open_page(page("servicepriorityrule_change", rule.pk), width=width)
    tab.wait_for_selector("text=Not tried on past days yet")
    assert fits(tab, width)
    made = world.offer()
    made.text, made.products_fallback = "Look: {products}", "our new arrivals"
    made.save()
    assert Customer.objects.exists() or world.customer("K-9")
    tab.goto(tab.url.split("/admin/")[0] + page("offer_change", made.pk))
    tab.wait_for_selector("text=Look: our new arrivals")
    assert fits(tab, width)
    tab.goto(tab.url.split("/admin/")[0] + page("shop_change", 1))
    tab.wait_for_selector("[name=quiet_from]")
    assert fits(tab, width)
