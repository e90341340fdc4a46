"""A column that rules and texts ask for keeps its name, kind and place; nothing that is asked of a lost one fails."""

from __future__ import annotations

import pytest

from segmentation import segments
from segmentation.models import (
    AttributeDefinition,
    AuditEntry,
    CampaignRule,
    Offer,
    Segment,
    ServicePriorityRule,
    Target,
)
from tests.segmentation.admin import world
from tests.segmentation.admin.test_campaigns import html
from tests.segmentation.admin.world import page

RULE = {"field": "attribute.vip", "op": "is", "value": True}
FORM = {
    "label": "VIP",
    "slug": "vip",
    "kind": "boolean",
    "choices": "[]",
    "is_rule_field": "on",
    "is_feature": "on",
}


@pytest.fixture
def vip(db):
    return AttributeDefinition.objects.create(slug="vip", label="VIP", kind="boolean", is_rule_field=True)


def in_segment():
    return world.segment("Very important", rule=RULE), "segment “Very important”"


def in_campaign():
    made = world.campaign(world.segment(), world.offer())
    CampaignRule.objects.update(condition={"none": [RULE]})
    return made, f"campaign “{made.name}”"


def in_priority():
    return ServicePriorityRule.objects.create(
        position=1, name="First", level=4, condition=RULE
    ), "priority rule “First”"


def in_offer():
    made = world.offer()
    Offer.objects.update(text="For {attribute.vip}")
    return made, f"offer “{made.name}”"


def in_target():
    made = Target.objects.create(
        slug="vip", name="VIPs", kind=Target.Kind.CATEGORY, attribute=AttributeDefinition.objects.get()
    )
    return made, "target “VIPs”"


@pytest.mark.parametrize("use", [in_segment, in_campaign, in_priority, in_offer, in_target])
def test_a_column_in_use_neither_goes_nor_becomes_something_else(admin_client, vip, use):
    user, named = use()
    said = html(admin_client.post(page("attributedefinition_delete", vip.pk), {"post": "yes"}, follow=True))
    assert f"“VIP” is used by {named}" in said
    for change in ({"kind": "number"}, {"slug": "very"}, {"is_rule_field": ""}):
        answer = admin_client.post(page("attributedefinition_change", vip.pk), {**FORM, **change})
        assert (answer.status_code, named in html(answer)) == (200, True), change
    vip.refresh_from_db()
    assert (vip.slug, vip.kind, vip.is_rule_field) == ("vip", "boolean", True)
    renamed = admin_client.post(page("attributedefinition_change", vip.pk), {**FORM, "label": "Important"})
    assert renamed.status_code == 302
    segments.delete(user) if isinstance(user, Segment) else user.delete()
    admin_client.post(page("attributedefinition_delete", vip.pk), {"post": "yes"})
    assert not AttributeDefinition.objects.exists()
    assert AuditEntry.objects.exists()


def test_pages_of_rules_whose_column_is_gone_open_and_say_so(admin_client, vip):
    """Deleted past the console: nothing fails, nobody fits."""
    segment, _named = in_segment()
    campaign, _named = in_campaign()
    rule, _named = in_priority()
    AttributeDefinition.objects.all().delete()
    for name, pk in (("segment", segment.pk), ("campaign", campaign.pk), ("servicepriorityrule", rule.pk)):
        assert admin_client.get(page(f"{name}_changelist")).status_code == 200
        assert admin_client.get(page(f"{name}_change", pk)).status_code == 200
    for panel in (page("campaign_reach", campaign.pk), page("servicepriorityrule_reach", rule.pk)):
        assert admin_client.get(panel).status_code == 200
    said = html(admin_client.post(page("campaign_move", campaign.pk, "running"), follow=True))
    assert "There is no field called" in said
    assert Segment.objects.count() == 2


@pytest.mark.parametrize("name", ["segment", "attributedefinition"])
@pytest.mark.parametrize("number", ["abc", "99999", "1" * 30])
def test_deleting_what_does_not_exist_is_no_server_error(admin_client, name, number):
    assert admin_client.get(page(f"{name}_delete", number)).status_code in (302, 404)
