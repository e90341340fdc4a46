"""Setting a class by hand: the form, who may, and where it shows."""

from __future__ import annotations

import pytest

from segmentation import overrides
from segmentation.models import AuditEntry, Score, ScoreOverride, Target
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page


def html(answer):
    return answer.content.decode()


@pytest.fixture
def buyer():
    made = world.customer("K-7", tier="low")
    tier = Target.objects.get(slug="value_tier")
    version = world.version(1, serves=("value_tier",))
    Score.objects.create(
        customer=made, target=tier, version=version, as_of=world.AS_OF, value=0.8, label="low", reasons={}
    )
    return made


def given(**fields):
    return {"choice": "value_tier:high", "reason": "Buys for a hotel", "last_day": "", **fields}


def test_it_is_set_shown_and_lifted(client, buyer):
    client.force_login(world.person("Campaign manager"))
    address = page("customer_override", buyer.pk)
    assert "High value" in html(client.get(address))
    answer = client.post(address, given(last_day="2999-01-02"), follow=True)
    text = html(answer)
    assert "High value (set by staff)" in text
    assert "The model says: Low value" in text
    assert "Buys for a hotel" in text
    assert "set by staff" in html(client.get(page("customer_changelist")))
    made = ScoreOverride.objects.get()
    client.post(page("customer_override_lift", buyer.pk, made.pk))
    assert not overrides.in_force().exists()
    assert "set by staff" not in html(client.get(page("customer_changelist")))
    assert AuditEntry.objects.filter(action__in=["override.set", "override.lifted"]).count() == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"choice": "value_tier:gold"},
        {"choice": "churn:1"},
        {"choice": ""},
        {"reason": "  "},
        {"last_day": "yesterday"},
        {"last_day": "2001-01-01"},
    ],
)
def test_nonsense_is_refused_and_changes_nothing(admin_client, buyer, fields):
    answer = admin_client.post(page("customer_override", buyer.pk), given(**fields))
    assert answer.status_code == 200
    assert "error" in html(answer)
    assert not ScoreOverride.objects.exists()


@pytest.mark.parametrize("role", ["Service agent", "Data protection", "Auditor"])
def test_only_some_roles_may(client, buyer, role):
    made = overrides.put(buyer, Target.objects.get(slug="value_tier"), "high", reason="x", by=None)
    client.force_login(world.person(role))
    assert client.post(page("customer_override", buyer.pk), given()).status_code == 403
    assert client.post(page("customer_override_lift", buyer.pk, made.pk)).status_code == 403
    assert list(overrides.in_force()) == [made]


def test_a_merged_or_unknown_customer_is_not_a_server_error(admin_client, buyer):
    assert admin_client.get(page("customer_override", 987_654)).status_code == 404
    assert admin_client.get(page("customer_override_lift", buyer.pk, 1)).status_code == 405
