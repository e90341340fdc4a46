"""The console as staff use it: sign in, look, edit a rule with its preview, watch a run."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User

from segmentation import targets
from segmentation.models import LeaseState, Segment, ServicePriorityRule, TrainingRun
from tests.segmentation.admin import world
from tests.segmentation.admin.world import AT, page


@pytest.fixture(autouse=True)
def _targets(transactional_db):
    targets.install()


def drawn(chart) -> bool:
    """Whether anything was painted on the canvas."""
    return chart.evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((value) => value !== 0)"
    )


def test_signing_in_leads_home(chromium, live_server):
    User.objects.create_superuser("ada", password="a long password")
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(live_server.url + "/admin/")
    tab.fill("[name=username]", "ada")
    tab.fill("[name=password]", "a long password")
    tab.press("[name=password]", "Enter")
    tab.wait_for_selector("text=What to do next")
    assert tab.url == live_server.url + "/admin/"
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_the_screen(open_page, width):
    rows = world.shop_with_everything()
    tab = open_page(width=width)
    for name in ("customer", "modelversion", "segment", "trainingrun"):
        tab.goto(tab.url.split("/admin/")[0] + page(f"{name}_change", rows[name]))
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name


def test_the_customers_list_leads_to_a_customers_page(open_page):
    world.shop_with_everything()
    tab = open_page(page("customer_changelist"))
    assert tab.locator("text=likely to stop buying (82 %)").count() == 1
    tab.click("text=K-100")
    tab.wait_for_selector("text=Last decision and why")
    assert tab.locator("text=Beeswax candle").count() == 1


def test_home_draws_its_charts(open_page):
    world.shop_with_everything()
    tab = open_page()
    tab.wait_for_selector("canvas[data-chart]")
    charts = tab.locator("canvas[data-chart]")
    assert charts.count() >= 4
    assert all(drawn(charts.nth(number)) for number in range(charts.count()))


def test_a_versions_curves_are_drawn(open_page):
    made = world.version(1)
    tab = open_page(page("modelversion_change", made.pk))
    for curve in ("roc", "pr", "reliability", "gains"):
        assert drawn(tab.locator(f"canvas[data-chart=chart-churn-{curve}]")), curve


def test_a_segment_is_built_with_the_keyboard_and_previewed(open_page):
    tab = open_page(page("segment_add"))
    tab.fill("[name=name]", "Often in France")
    tab.wait_for_selector(".tw-group")
    field = tab.locator("select[data-role=field]")
    field.first.select_option("feature.orders_90d")
    value = tab.locator("input[type=number]")
    value.fill("3")
    tab.locator("[data-key='all:add_condition']").focus()
    tab.keyboard.press("Enter")
    assert field.nth(1).evaluate("one => one === document.activeElement")
    field.nth(1).select_option("customer.country")
    tab.locator("input[type=text][data-key='all[1]:value']").fill("France")
    tab.wait_for_selector("[data-reach=count]")
    tab.locator("[name=_save]").click()
    tab.wait_for_url(re.compile(r"/segment/$"))
    assert Segment.objects.get(slug="often-in-france").version.rule == {
        "all": [
            {"field": "feature.orders_90d", "op": ">=", "value": 3},
            {"field": "customer.country", "op": "is", "value": "France"},
        ]
    }


def test_the_builder_shows_a_stored_rule_as_it_is_and_keeps_it(open_page):
    rule = {
        "any": [
            {"field": "score.churn", "op": ">=", "value": 0.07},
            {"none": [{"field": "consent.marketing", "op": "in", "value": ["denied", "unknown"]}]},
            {"field": "feature.recency_days", "op": "between", "value": [30, 180]},
        ]
    }
    made = world.segment(rule=rule)
    tab = open_page(page("segment_change", made.pk))
    tab.wait_for_selector(".tw-group .tw-group")
    # A probability is shown in percent and stored as a share, without a rounding error on the way.
    share = tab.locator("[data-key='any[0]:value']")
    assert share.input_value() == "7"
    share.fill("8")
    tab.locator("[name=_save]").click()
    tab.wait_for_url(re.compile(r"/segment/$"))
    made.refresh_from_db()
    rule["any"][0]["value"] = 0.08
    assert made.version.rule == rule


def test_what_is_wrong_is_said_under_the_condition(open_page):
    tab = open_page(page("segment_add"))
    tab.wait_for_selector("select[data-role=field]")
    tab.locator("input[type=number]").fill("")
    problem = tab.locator("[data-path='all[0]'] .tw-node-error")
    problem.wait_for()
    assert "Expected a number" in problem.inner_text()
    tab.locator("input[type=number]").fill("1")
    problem.wait_for(state="detached")


def test_a_rule_of_a_campaign_is_previewed_with_its_segment(open_page):
    whom = world.segment("French")
    world.offer()
    tab = open_page(page("campaign_add"))
    panel = tab.locator("[data-rule-builder] [data-rule-reach]").first
    panel.filter(has_text="Choose a segment").wait_for()
    tab.locator("select[name=rules-0-segment]").select_option(str(whom.pk), force=True)
    tab.wait_for_selector("[data-reach=count]")


def test_a_training_run_is_watched_until_it_is_over(open_page):
    run = TrainingRun.objects.create(
        state=LeaseState.RUNNING, progress=0.2, progress_note="Reading", started_at=AT
    )
    tab = open_page(page("trainingrun_change", run.pk))
    bar = tab.locator("[role=progressbar]")
    assert bar.get_attribute("aria-valuenow") == "20"
    epochs = [
        {"estimator": "mlp", "epoch": n, "train_loss": 2.0 / n, "valid_loss": 2.2 / n} for n in (1, 2, 3)
    ]
    TrainingRun.objects.filter(pk=run.pk).update(progress=0.6, progress_note="Fitting", epochs=epochs)
    tab.wait_for_selector("text=Fitting")
    assert bar.get_attribute("aria-valuenow") == "60"
    assert drawn(tab.locator("[data-live-charts] canvas"))
    TrainingRun.objects.filter(pk=run.pk).update(state=LeaseState.DONE, progress=1, finished_at=AT)
    tab.wait_for_selector("text=Train again")
    assert bar.get_attribute("aria-valuenow") == "100"


def test_a_service_priority_is_moved_with_the_keyboard(open_page):
    whom = world.segment()
    for position, name in enumerate(("First", "Second"), 1):
        ServicePriorityRule.objects.create(position=position, name=name, segment=whom)
    tab = open_page(page("servicepriorityrule_changelist"))
    tab.get_by_role("button", name="Move “Second” up").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=“Second” is now number 1.")
    assert list(ServicePriorityRule.objects.values_list("name", flat=True)) == ["Second", "First"]


def test_every_input_of_the_builder_has_a_name_for_who_cannot_see_it(open_page):
    tab = open_page(page("segment_add"))
    tab.wait_for_selector("select[data-role=field]")
    unnamed = tab.locator("[data-rule-tree] :is(select, input, button):not([aria-label])").evaluate_all(
        "all => all.filter((one) => !one.textContent.trim()).length"
    )
    assert unnamed == 0
