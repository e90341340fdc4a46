from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

pytestmark = pytest.mark.django_db


def permissions(name, app):
    rows = Group.objects.get(name=name).permissions.filter(content_type__app_label=app)
    return set(rows.values_list("codename", flat=True))


def test_roles_see_the_doors_and_only_administrators_change_them(capsys):
    call_command("install_roles")
    call_command("install_roles")
    assert "view_inboundmessage" in permissions("Analyst", "crm_integration")
    assert "change_inboundmessage" not in permissions("Auditor", "crm_integration")
    assert {"change_connection", "view_message_body"} <= permissions("Administrator", "crm_integration")
    for name in Group.objects.exclude(name="Administrator").values_list("name", flat=True):
        assert not {"change_connection", "view_message_body"} & permissions(name, "crm_integration")
    assert "view_customer" in permissions("Analyst", "segmentation")


@pytest.mark.parametrize(
    "lookup", ["body__contains", "body__startswith", "body_sha256", "body_sha256__startswith"]
)
@pytest.mark.parametrize("model", ["inboundmessage", "outboundmessage"])
def test_a_filter_in_the_address_cannot_spell_out_a_body(admin_client, model, lookup):
    answer = admin_client.get(f"/admin/crm_integration/{model}/", {lookup: "7b"})
    assert answer.status_code == 400
