"""Every page for everyone: who sees it, and who is turned away without anything having changed."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import reverse

from segmentation.models import AuditEntry, Campaign, ModelSlot, ScoringRun, TrainingRun
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

OWN_PAGES = (
    "trainingrun_train", "importrun_upload", "segment_add", "campaign_add", "offer_add",
    "servicepriorityrule_add", "target_add", "attributedefinition_add", "exchangerate_add",
)  # fmt: skip
SEEN_BY = {
    "Analyst": (
        {"customer", "segment", "campaign", "trainingrun", "modelversion", "importrun"},
        {"auditentry"},
    ),
    "Campaign manager": (
        {"customer", "segment", "campaign", "offer", "scoringrun"},
        {"trainingrun", "auditentry"},
    ),
    "Service agent": (
        {"customer", "segment", "offer"},
        {"campaign", "modelversion", "importrun", "auditentry"},
    ),
    "Auditor": ({"customer", "modelversion", "auditentry", "importrun"}, set()),
}


def our_models():
    return [model for model in admin.site._registry if model._meta.app_label == "segmentation"]


def test_every_list_opens_for_a_superuser(admin_client):
    world.shop_with_everything()
    for model in our_models():
        answer = admin_client.get(page(f"{model._meta.model_name}_changelist"), follow=True)
        assert answer.status_code == 200, model


def test_every_row_opens_for_a_superuser(admin_client):
    for name, pk in world.shop_with_everything().items():
        assert admin_client.get(page(f"{name}_change", pk)).status_code == 200, name


def test_every_form_opens_for_a_superuser(admin_client):
    for name in OWN_PAGES:
        assert admin_client.get(page(name)).status_code == 200, name


@pytest.mark.parametrize("role", SEEN_BY)
def test_a_role_sees_its_pages_and_no_others(client, role):
    rows = world.shop_with_everything()
    client.force_login(world.person(role))
    seen, hidden = SEEN_BY[role]
    assert client.get(reverse("admin:index")).status_code == 200
    for name in seen:
        assert client.get(page(f"{name}_changelist")).status_code == 200, name
        if name in rows:
            assert client.get(page(f"{name}_change", rows[name])).status_code == 200, name
    for name in hidden:
        assert client.get(page(f"{name}_changelist")).status_code == 403, name
        if name in rows:
            assert client.get(page(f"{name}_change", rows[name])).status_code == 403, name


def test_a_stranger_is_sent_to_the_login(client):
    rows = world.shop_with_everything()
    for address in (
        reverse("admin:index"),
        page("customer_change", rows["customer"]),
        page("trainingrun_train"),
    ):
        answer = client.get(address)
        assert answer.status_code == 302
        assert "login" in answer["Location"]


def test_someone_without_a_role_sees_no_numbers(client, django_user_model):
    world.shop_with_everything()
    client.force_login(django_user_model.objects.create_user("nobody", is_staff=True))
    text = client.get(reverse("admin:index")).content.decode()
    assert "Expected spend" not in text
    assert 'href="/admin/segmentation/customer/"' not in text


def test_an_auditor_changes_nothing(client):
    rows = world.shop_with_everything()
    second = world.version(2)
    before = AuditEntry.objects.count()
    client.force_login(world.person("Auditor"))
    churn = rows["target"]
    for address in (
        page("trainingrun_train"),
        page("trainingrun_cancel", rows["trainingrun"]),
        page("scoringrun_start"),
        page("scoringrun_cancel", rows["scoringrun"]),
        page("modelversion_promote", second.pk, churn),
        page("modelversion_roll_back", rows["modelversion"], churn),
        page("campaign_move", rows["campaign"], "running"),
        page("campaign_measure", rows["campaign"]),
        page("customer_rescore", rows["customer"]),
        page("customer_contact", rows["customer"]),
        page("holdoutgroup_draw"),
        page("servicepriorityrule_move_down", rows["servicepriorityrule"]),
        page("importrun_upload"),
        page("segment_add"),
    ):
        assert client.post(address, {"percent": "5"}).status_code == 403, address
    assert AuditEntry.objects.count() == before
    assert TrainingRun.objects.get().state == "running"
    assert ScoringRun.objects.count() == 1
    assert ModelSlot.objects.get(target=churn).champion_id == rows["modelversion"]
    assert Campaign.objects.get(pk=rows["campaign"]).status == "draft"


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("trainingrun_cancel", "trainingrun"),
        ("scoringrun_cancel", "scoringrun"),
        ("customer_rescore", "customer"),
        ("scoringrun_start", None),
        ("holdoutgroup_draw", None),
    ],
)
def test_a_link_alone_never_acts(admin_client, nudges, name, row):
    rows = world.shop_with_everything()
    nudges.clear()
    answer = admin_client.get(page(name, *([rows[row]] if row else [])))
    assert answer.status_code == 405
    assert nudges == []


def test_rows_that_services_write_cannot_be_edited_by_hand(admin_client):
    rows = world.shop_with_everything()
    for name in ("customer", "trainingrun", "modelversion", "scoringrun", "importrun"):
        assert admin_client.get(page(f"{name}_add")).status_code == 403, name
        assert admin_client.post(page(f"{name}_delete", rows[name]), {"post": "yes"}).status_code == 403, name
