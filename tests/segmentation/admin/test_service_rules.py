"""The order of service priority rules: the first that fits wins, so staff must be able to change it."""

from __future__ import annotations

import pytest

from segmentation.models import AuditEntry, ServicePriorityRule
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page


@pytest.fixture
def rules():
    """Three rules; the gap is what a deleted rule leaves."""
    whom = world.segment()
    return [
        ServicePriorityRule.objects.create(position=position, name=name, segment=whom)
        for position, name in ((1, "First"), (2, "Second"), (5, "Third"))
    ]


def names():
    return list(ServicePriorityRule.objects.order_by("position").values_list("name", flat=True))


def test_a_rule_changes_places_with_its_neighbour_and_that_is_written_down(admin_client, admin_user, rules):
    answer = admin_client.post(page("servicepriorityrule_move_up", rules[2].pk), follow=True)
    assert names() == ["First", "Third", "Second"]
    assert "“Third” is now number 2." in answer.content.decode()
    assert answer.redirect_chain[0][0].endswith(f"#place-{rules[2].pk}")
    entry = AuditEntry.objects.get(action="moved")
    assert (entry.actor, entry.object_id) == (admin_user, str(rules[2].pk))
    assert entry.detail == {"place": 2, "before": 3}
    admin_client.post(page("servicepriorityrule_move_down", rules[0].pk))
    assert names() == ["Third", "First", "Second"]


def test_the_ends_of_the_list_are_ends(admin_client, rules):
    admin_client.post(page("servicepriorityrule_move_up", rules[0].pk))
    admin_client.post(page("servicepriorityrule_move_down", rules[2].pk))
    assert names() == ["First", "Second", "Third"]
    assert not AuditEntry.objects.filter(action="moved").exists()


def test_a_new_rule_is_asked_last(admin_client, rules):
    given = {"name": "Fourth", "level": 3, "is_active": "on", "segment": world.segment().pk}
    assert admin_client.post(page("servicepriorityrule_add"), given).status_code == 302
    assert names() == ["First", "Second", "Third", "Fourth"]


def test_only_who_may_change_rules_sees_the_buttons(client, rules):
    address = page("servicepriorityrule_changelist")
    client.force_login(world.person("Campaign manager"))
    assert client.get(address).content.decode().count("formaction") == 2 * len(rules)
    client.force_login(world.person("Auditor"))
    assert "formaction" not in client.get(address).content.decode()


def test_of_two_who_edit_a_rule_at_once_the_second_is_told(admin_client, rules):
    first = rules[0]
    stale = {
        "name": "Mine",
        "level": 3,
        "is_active": "on",
        "segment": first.segment_id,
        "seen": first.edit_version,
    }
    address = page("servicepriorityrule_change", first.pk)
    assert admin_client.post(address, {**stale, "name": "Theirs"}).status_code == 302
    answer = admin_client.post(address, stale)
    assert "Somebody else saved this meanwhile" in answer.content.decode()
    assert names()[0] == "Theirs"


def test_minutes_and_days_that_no_calendar_has_are_refused(admin_client, rules):
    given = {"name": "Fourth", "level": 3, "is_active": "on", "segment": world.segment().pk}
    for beyond in ({"target_minutes": "2000000000"}, {"expires_days": "30000"}):
        answer = admin_client.post(page("servicepriorityrule_add"), given | beyond)
        assert "less than or equal to" in answer.content.decode()
    assert len(names()) == 3
