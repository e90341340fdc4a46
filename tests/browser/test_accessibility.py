"""Every page of the console against the rules of WCAG 2 AA, at the width of a laptop and of a telephone."""

from __future__ import annotations

import pytest
from django.urls import reverse

from tests.browser import axe
from tests.browser.keys import focus_on
from tests.browser.shop import filled
from tests.segmentation.admin.test_access_table import address, model_of, patterns
from tests.support.patience import on_this_machine

# Pages of these kinds are the same template for every model: looked at once.
ONCE = {"history": "segmentation_customer", "delete": "segmentation_offer"}
PARTS = 4


def pages(rows) -> list[tuple[str, str]]:
    """(name, address) of whatever answers a GET with a page of its own, from the console's own list of addresses."""
    found = []
    for name, route in patterns():
        model, _, kind = name.rpartition("_")
        if name in {"logout", "jsi18n", "autocomplete", "view_on_site", "app_list", "search", "login"}:
            continue
        if kind in ONCE and model != ONCE[kind]:
            continue
        if kind == "change" and model_of(name) not in {"", *rows}:
            continue
        found.append((name, address(name, route, rows)))
    return [*found, ("second_factor", reverse("second_factor"))]


@pytest.mark.parametrize("part", range(PARTS))
def test_no_page_breaks_a_rule_of_wcag_aa(open_page, client, part):
    script = axe.script()
    tab = open_page()
    rows = filled()
    home = tab.url.rsplit("/admin/", 1)[0]
    wrong = []
    assert {name for name, _ in patterns() if name.endswith("_change")} <= {name for name, _ in pages(rows)}
    for name, path in pages(rows)[part::PARTS]:
        answer = client.get(path)
        if answer.status_code != 200 or b"<html" not in b"".join(answer)[:3000]:
            continue
        tab.goto(home + path)
        # What is fetched after the page is part of it; a panel whose worker does not answer gives up after 20 seconds.
        tab.wait_for_function("!document.querySelector('[aria-busy=true]')", timeout=on_this_machine(60_000))
        tab.evaluate(script)
        for add in tab.locator(
            ".add-row a"
        ).all():  # rows inside the page: those that are there, and a new one
            add.click()
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 900})
            wrong += [f"{name} at {width}: {line}" for line in axe.violations(tab)]
    assert not wrong, f"{len(wrong)} places:\n" + "\n".join(wrong)


@pytest.mark.parametrize("width", [1280, 390])
def test_navigation_language_and_the_way_out_are_reached_with_the_keyboard(open_page, width):
    tab = open_page("/admin/", width=width)
    tab.wait_for_selector("[role=button][aria-label]", state="attached")
    if width < 1280:
        focus_on(tab, "[role=button][aria-label=Navigation]")
        tab.keyboard.press("Enter")
    focus_on(tab, "[role=button][aria-label='Your account: root']")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#logout-form button:visible")
    tab.focus("#logout-form button")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/logout/")
