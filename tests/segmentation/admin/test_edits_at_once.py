"""Two people have the same page open: whoever saves second is told, and what the first saved stays."""

from __future__ import annotations

import json

import pytest
from django.contrib import admin

from segmentation.admin.editing import OnceForm
from segmentation.models import FrequencyCap, Segment, Shop, Suppression
from segmentation.models.edited import Edited
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

TOLD = "Somebody else saved this meanwhile"


def as_opened(client, address: str) -> dict:
    """What the page would send if nothing were changed on it."""
    form = client.get(address).context["adminform"].form
    values = {field.html_name: field.value() for field in form}
    values = {name: "on" if value is True else value for name, value in values.items() if value is not False}
    return {
        name: json.dumps(value) if isinstance(value, dict) else "" if value is None else value
        for name, value in values.items()
    }


def cap():
    return FrequencyCap.objects.create(name="A week", most=2, days=7)


def suppressed():
    return Suppression.objects.create(customer=world.customer("K-7"), reason="Asked for it")


def kept_by_hand():
    return Segment.objects.create(slug="friends", name="Friends", kind=Segment.Kind.LIST)


@pytest.mark.parametrize(
    ("made", "name", "theirs", "mine"),
    [
        (cap, "most", 1, 5),
        (suppressed, "reason", "On the phone", "By letter"),
        (Shop.get, "name", "Theirs", "Mine"),
        (world.segment, "description", "Theirs", "Mine"),
        (kept_by_hand, "name", "Theirs", "Mine"),
    ],
)
def test_of_two_who_edit_at_once_the_second_is_told(admin_client, made, name, theirs, mine):
    row = made()
    address = page(f"{row._meta.model_name}_change", row.pk)
    stale = as_opened(admin_client, address)
    answer = admin_client.post(address, {**stale, name: theirs})
    assert answer.status_code == 302, answer.context["errors"]
    answer = admin_client.post(address, {**stale, name: mine})
    assert TOLD in answer.content.decode()
    row.refresh_from_db()
    assert getattr(row, name) == theirs
    anew = as_opened(admin_client, address)
    assert admin_client.post(address, {**anew, name: mine}).status_code == 302
    row.refresh_from_db()
    assert getattr(row, name) == mine


def test_who_edits_a_segments_rule_does_not_undo_a_new_name(admin_client):
    row = world.segment()
    address = page("segment_change", row.pk)
    stale = as_opened(admin_client, address)
    assert admin_client.post(address, {**stale, "name": "Theirs"}).status_code == 302
    rule = {"field": "feature.orders_90d", "op": ">=", "value": 9}
    assert TOLD in admin_client.post(address, {**stale, "rule": json.dumps(rule)}).content.decode()
    row.refresh_from_db()
    assert (row.name, row.version.number) == ("Theirs", 1)


def test_every_page_of_such_a_row_asks(rf, admin_user):
    request = rf.get("/")
    request.user = admin_user
    edited = {model: one for model, one in admin.site._registry.items() if issubclass(model, Edited)}
    assert len(edited) == 7
    for one in edited.values():
        form = one.get_form(request)
        assert issubclass(form, OnceForm)
        assert "seen" in form.base_fields, one
