"""Segments in the console: saved by the service, refused with the sentence at the node, previewed before."""

from __future__ import annotations

import json

import pytest

from segmentation.admin.rule_widget import RuleField
from segmentation.jobs import Job
from segmentation.models import AuditEntry, Segment, SegmentVersion
from segmentation.rules.operators import OPERATORS
from tests.segmentation.admin import world
from tests.segmentation.admin.world import RULE, page

NESTED = {"all": [RULE, {"none": [{"field": "score.churn", "op": ">=", "value": 0.6}]}]}


def html(answer):
    return answer.content.decode()


def form(rule=RULE, **fields):
    text = rule if isinstance(rule, str) else json.dumps(rule)
    return {"name": "French", "slug": "french", "description": "", "is_active": "on", "rule": text, **fields}


def preview(client, **asked):
    return client.post(page("segment_preview"), json.dumps(asked), content_type="application/json").json()


def test_a_segment_is_created_with_its_first_version_and_a_refresh(
    admin_client, admin_user, nudges, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin_client.post(page("segment_add"), form(NESTED))
    assert answer.status_code == 302
    made = Segment.objects.get()
    assert made.version.rule == NESTED
    assert made.version.created_by == admin_user
    assert (Job.REFRESH_SEGMENT, {"segment_id": made.pk}) in nudges
    assert AuditEntry.objects.filter(action="segment.rule_saved").count() == 1


def test_an_edited_rule_is_a_new_version_and_the_old_one_is_shown_with_what_changed(admin_client):
    made = world.segment()
    admin_client.post(page("segment_change", made.pk), form(NESTED))
    assert list(made.versions.order_by("number").values_list("number", flat=True)) == [1, 2]
    text = html(admin_client.get(page("segment_change", made.pk)))
    assert "What changed" in text
    assert "Chance to stop buying" in text


def test_saving_without_a_change_adds_no_version(admin_client):
    made = world.segment()
    admin_client.post(page("segment_change", made.pk), form(RULE, name="Renamed"))
    assert made.versions.count() == 1
    assert Segment.objects.get().name == "Renamed"


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({"all": [{"field": "feature.nothing", "op": "is", "value": 1}]}, "all[0].field"),
        ({"all": [{"field": "customer.country", "op": ">", "value": "x"}]}, "all[0].op"),
        ({"all": [RULE, {"any": []}]}, "all[1].any"),
        ("{not json", ""),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_at_its_node(admin_client, rule, path):
    answer = admin_client.post(page("segment_add"), form(rule))
    assert answer.status_code == 200
    assert f'data-error-path="{path}"' in html(answer)
    assert not Segment.objects.exists()
    assert not SegmentVersion.objects.exists()


def test_an_empty_rule_is_refused(admin_client):
    answer = admin_client.post(page("segment_add"), form(""))
    assert "rule" in answer.context["adminform"].form.errors
    assert not Segment.objects.exists()


def test_a_circle_of_segments_is_refused(admin_client):
    first = world.segment("First")
    second = world.segment("Second", rule={"all": [{"field": f"segment.{first.slug}", "op": "in"}]})
    circle = {"all": [{"field": f"segment.{second.slug}", "op": "in"}]}
    answer = admin_client.post(page("segment_change", first.pk), form(circle))
    assert "circle" in html(answer)
    assert first.versions.count() == 1


def test_a_used_segment_can_neither_rest_nor_go(admin_client):
    made = world.segment()
    world.campaign(made, world.offer())
    resting = form()
    del resting["is_active"]
    assert "Win back" in html(admin_client.post(page("segment_change", made.pk), resting))
    answer = admin_client.post(page("segment_delete", made.pk), {"post": "yes"}, follow=True)
    assert "Win back" in html(answer)
    assert Segment.objects.get(pk=made.pk).is_active


def test_an_unused_segment_goes_with_its_history(admin_client):
    made = world.segment()
    assert admin_client.get(page("segment_delete", made.pk)).status_code == 200
    admin_client.post(page("segment_delete", made.pk), {"post": "yes"})
    assert not Segment.objects.exists()
    assert AuditEntry.objects.filter(action="segment.deleted").count() == 1


def test_the_builder_is_told_every_field_and_every_operator_of_its_type(admin_client):
    world.segment("Loyal")
    told = admin_client.get(page("segment_rule_fields")).json()
    fields = {field["name"]: field for field in told["fields"]}
    assert {"feature.orders_90d", "score.churn", "customer.country", "consent.marketing"} <= fields.keys()
    assert any(field["label"] == "Loyal" for field in told["fields"])
    for kind, known in OPERATORS.items():
        assert [one["name"] for one in told["operators"][kind.value]] == [one.name for one in known]
        assert not any("%" in one["label"] for one in told["operators"][kind.value])


def test_the_preview_says_where_a_rule_is_wrong_instead_of_failing(admin_client):
    wrong = {"all": [{"field": "customer.country", "op": "is", "value": 3}]}
    assert preview(admin_client, rule=wrong)["problem"]["path"] == "all[0].value"
    for body in (b"", b"[]", b"{", b'{"segment": "x"}'):
        answer = admin_client.post(page("segment_preview"), body, content_type="application/json")
        assert answer.status_code == 200
        assert "problem" in answer.json()


def test_the_preview_of_a_shop_that_is_not_classified_says_so(admin_client):
    assert "classify first" in preview(admin_client, rule=RULE)["sentence"]


def test_the_preview_needs_permission(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("nobody", is_staff=True))
    assert client.post(page("segment_preview"), b"{}", content_type="application/json").status_code == 403


def test_the_field_takes_back_what_it_shows():
    field = RuleField(required=False)
    assert field.clean(field.prepare_value(RULE)) == RULE
    assert field.clean("") is None
    assert not field.has_changed(RULE, field.prepare_value(RULE))
    assert field.has_changed(RULE, "")
