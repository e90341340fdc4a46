"""Campaigns, offers, priorities and holdouts: every move goes through its service."""

from __future__ import annotations

import json

import pytest

from segmentation.models import Campaign, CampaignRule, HoldoutGroup, Offer, ServicePriorityRule
from tests.segmentation.admin import world
from tests.segmentation.admin.world import RULE, page


def html(answer):
    return answer.content.decode()


def form(*rules, **fields):
    """rules: (segment or None, condition or "", offer)."""
    given = {
        "name": "Win back", "slug": "win-back", "description": "", "priority": 0, "holdout_percent": 0,
        "starts_on": "", "ends_on": "", "trigger": "always", "trigger_days": 1, "re_entry": "always",
        "re_entry_days": "", "on_lost": "drop", "choice": "order",
        "rules-TOTAL_FORMS": len(rules), "rules-INITIAL_FORMS": 0, "rules-MIN_NUM_FORMS": 0, "rules-MAX_NUM_FORMS": 1000,
    }  # fmt: skip
    for number, (whom, condition, gives) in enumerate(rules):
        given |= {
            f"rules-{number}-position": number + 1,
            f"rules-{number}-name": "",
            f"rules-{number}-segment": whom.pk if whom else "",
            f"rules-{number}-condition": json.dumps(condition) if condition else "",
            f"rules-{number}-offer": gives.pk,
        }
    return {**given, **fields}


def test_a_campaign_is_created_with_its_rules(admin_client):
    whom, gives = world.segment(), world.offer()
    answer = admin_client.post(page("campaign_add"), form((whom, "", gives), (None, RULE, gives)))
    assert answer.status_code == 302, answer.context["errors"]
    first, second = CampaignRule.objects.order_by("position")
    assert (first.segment, first.condition) == (whom, None)
    assert (second.segment, second.condition) == (None, RULE)


def test_a_rule_that_says_nobody_is_refused_with_a_sentence(admin_client):
    answer = admin_client.post(page("campaign_add"), form((None, "", world.offer())))
    assert "Choose a segment or add a condition" in html(answer)
    assert not Campaign.objects.exists()


def test_a_broken_condition_is_shown_at_its_node(admin_client):
    broken = {"all": [{"field": "nothing", "op": "is"}]}
    answer = admin_client.post(page("campaign_add"), form((None, broken, world.offer())))
    assert 'data-error-path="all[0].field"' in html(answer)
    assert not Campaign.objects.exists()


def test_the_buttons_are_the_moves_that_are_allowed(admin_client):
    made = world.campaign(world.segment(), world.offer())
    for move, shown, hidden in (
        (None, "Start now", "Pause"),
        ("running", "Pause", "Start now"),
        ("paused", "Resume", "Pause"),
        ("ended", "Ended", "Resume"),
    ):
        if move:
            admin_client.post(page("campaign_move", made.pk, move))
        buttons = [
            str(title)
            for _status, title, _ask in admin_client.get(page("campaign_change", made.pk)).context["moves"]
        ]
        assert shown in buttons or shown == "Ended"
        assert hidden not in buttons
    made.refresh_from_db()
    assert made.status == "ended"


def test_a_campaign_without_rules_does_not_start_and_says_why(admin_client):
    made = Campaign.objects.create(slug="x", name="x")
    answer = admin_client.post(page("campaign_move", made.pk, "running"), follow=True)
    assert "Add at least one rule" in html(answer)
    made.refresh_from_db()
    assert made.status == "draft"


def test_a_move_that_does_not_exist_is_not_found(admin_client):
    made = world.campaign(world.segment(), world.offer())
    assert admin_client.post(page("campaign_move", made.pk, "launched")).status_code == 404


def test_a_running_campaigns_changed_holdout_is_a_new_draw(admin_client):
    whom, gives = world.segment(), world.offer()
    made = world.campaign(whom, gives, needs_marketing_consent=False)
    admin_client.post(page("campaign_move", made.pk, "running"))
    rule = made.rules.get()
    changed = form((whom, "", gives), holdout_percent=10) | {
        "rules-INITIAL_FORMS": 1, "rules-0-id": rule.pk, "rules-0-campaign": made.pk,
    }  # fmt: skip
    assert admin_client.post(page("campaign_change", made.pk), changed).status_code == 302
    assert HoldoutGroup.objects.get(campaign=made, is_current=True).percent == 10


def test_the_panels_say_whom_a_saved_campaign_or_rule_would_reach(admin_client):
    made = world.campaign(world.segment(), world.offer())
    assert "would get an offer" in html(admin_client.get(page("campaign_reach", made.pk)))
    rule = ServicePriorityRule.objects.create(position=1, name="VIP", level=4, segment=world.segment("VIP"))
    assert "the priority differs" in html(admin_client.get(page("servicepriorityrule_reach", rule.pk)))


def test_a_priority_rule_is_saved_with_its_condition(admin_client):
    given = {
        "position": 1,
        "name": "French first",
        "level": 4,
        "handling": "",
        "is_active": "on",
        "segment": "",
    }
    answer = admin_client.post(page("servicepriorityrule_add"), {**given, "condition": json.dumps(RULE)})
    assert answer.status_code == 302
    assert ServicePriorityRule.objects.get().condition == RULE


@pytest.mark.parametrize(("percent", "draws"), [("5", 1), ("80", 0), ("x", 0), ("", 0)])
def test_the_global_holdout_is_drawn_by_the_service_within_its_bounds(admin_client, percent, draws):
    admin_client.post(page("holdoutgroup_draw"), {"percent": percent})
    assert HoldoutGroup.objects.filter(campaign=None, is_current=True).count() == draws


def test_an_offers_amounts_are_typed_in_the_shops_currency(admin_client):
    given = {"name": "Gift", "slug": "gift", "kind": "gift", "text": "x", "valid_days": 30, "is_active": "on"}
    given |= {"codes": "one", "texts-TOTAL_FORMS": 0, "texts-INITIAL_FORMS": 0}
    admin_client.post(page("offer_add"), {**given, "value": "4.99", "cost": "", "percentage": "", "code": ""})
    made = Offer.objects.get()
    assert (made.value_minor, made.cost_minor) == (499, 0)
    assert 'value="4.99"' in html(admin_client.get(page("offer_change", made.pk)))
