"""Around segments: two editors, versions to restore, templates, lists by hand, who was in, moves between tiers."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile

from segmentation import segment_history, segment_templates
from segmentation.jobs import Job
from segmentation.models import (
    Alert,
    AttributeDefinition,
    AuditEntry,
    ListEntry,
    Membership,
    MembershipCause,
    PastMembership,
    ScoreHistory,
    Segment,
    Shop,
    Target,
)
from segmentation.rules import language
from segmentation.rules.fields import registry
from tests.segmentation.admin import world
from tests.segmentation.admin.test_segments import form, html, preview
from tests.segmentation.admin.world import RULE, page

SPANISH = {"all": [{"field": "customer.country", "op": "is", "value": "Spain"}]}
AS_TEXT = 'all(\n  customer.country is "France",\n  count of order_placed (within 30 days) >= 2\n)'


def said(answer):
    return [str(one) for one in answer.context["messages"]]


def versions(segment):
    return list(segment.versions.order_by("number").values_list("number", "restores"))


def test_the_second_of_two_editors_is_told_and_may_then_insist(admin_client):
    made = world.segment()
    admin_client.post(page("segment_change", made.pk), form(NESTED := {"any": [RULE, SPANISH]}, opened=1))
    late = admin_client.post(page("segment_change", made.pk), form(SPANISH, opened=1))
    assert late.status_code == 200
    assert "version 2 of this rule while you were editing" in html(late)
    assert 'name="opened" value="2"' in html(late)
    assert Segment.objects.get().version.rule == NESTED
    assert admin_client.post(page("segment_change", made.pk), form(SPANISH, opened=2)).status_code == 302
    assert Segment.objects.get().version.rule == SPANISH


def test_an_older_version_is_restored_as_the_newest(admin_client, nudges, django_capture_on_commit_callbacks):
    made = world.segment()
    admin_client.post(page("segment_change", made.pk), form(SPANISH, opened=1))
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(page("segment_restore", made.pk, 1))
    assert Segment.objects.get().version.rule == RULE
    assert versions(made) == [(1, None), (2, None), (3, 1)]
    assert (Job.REFRESH_SEGMENT, {"segment_id": made.pk}) in nudges
    assert "restores v1" in html(admin_client.get(page("segment_change", made.pk)))


def test_a_version_that_cannot_be_used_any_more_is_not_restored(admin_client):
    vip = AttributeDefinition.objects.create(slug="vip", label="VIP", kind="boolean")
    made = world.segment(rule={"all": [{"field": "attribute.vip", "op": "is", "value": True}]})
    admin_client.post(page("segment_change", made.pk), form(SPANISH, opened=1))
    vip.delete()
    answer = admin_client.post(page("segment_restore", made.pk, 1), follow=True)
    assert "Version 1 cannot be restored" in said(answer)[-1]
    assert "no field called" in said(answer)[-1]
    answer = admin_client.post(page("segment_restore", made.pk, 9), follow=True)
    assert said(answer)[-1] == "There is no version 9."
    assert versions(made) == [(1, None), (2, None)]


def test_a_page_of_a_segment_whose_column_is_gone_still_opens(admin_client):
    vip = AttributeDefinition.objects.create(slug="vip", label="VIP", kind="boolean")
    made = world.segment(rule={"all": [{"field": "attribute.vip", "op": "is", "value": True}]})
    vip.delete()
    assert "cannot be read" in html(admin_client.get(page("segment_changelist")))
    assert admin_client.get(page("segment_change", made.pk)).status_code == 200
    assert admin_client.get(page("segment_members", made.pk)).status_code == 200


@pytest.mark.parametrize("name", ["segment_restore", "segment_by_hand", "segment_use_template"])
def test_buttons_need_the_permission_and_a_post(client, admin_client, django_user_model, name):
    made = world.segment()
    args = {
        "segment_restore": (made.pk, 1),
        "segment_by_hand": (made.pk,),
        "segment_use_template": ("rfm-new",),
    }[name]
    assert admin_client.get(page(name, *args)).status_code == 405
    client.force_login(world.person("Service agent"))
    assert client.post(page(name, *args), {"numbers": "K1", "what": "in"}).status_code == 403
    assert not ListEntry.objects.exists()
    assert Segment.objects.count() == 1


def test_every_template_becomes_a_segment_with_one_click(admin_client, admin_user):
    assert "Champions" in html(admin_client.get(page("segment_templates")))
    fields = registry()
    for template in segment_templates.everything():
        language.parse(template.rule, fields=fields)
    answer = admin_client.post(page("segment_use_template", "high-value-at-risk"), follow=True)
    made = Segment.objects.get()
    assert answer.redirect_chain[-1][0] == page("segment_change", made.pk)
    assert (made.version.created_by, made.kind) == (admin_user, Segment.Kind.MODEL)
    admin_client.post(page("segment_use_template", "high-value-at-risk"))
    assert Segment.objects.count() == 1
    assert "no such template" in said(admin_client.post(page("segment_use_template", "x"), follow=True))[-1]


def test_the_rfm_classes_share_out_every_customer_with_an_order():
    import polars as pl

    from segmentation.rules import compile as rules

    cells = [(r, f) for r in range(1, 6) for f in range(1, 6)] + [(None, None)]
    frame = pl.DataFrame(
        [
            {"feature.recency_score": r, "feature.frequency_score": f, "feature.orders_lifetime": 2.0}
            for r, f in cells
        ],
        schema_overrides={"feature.recency_score": pl.Float64, "feature.frequency_score": pl.Float64},
    )
    fields = registry()
    masks = [
        rules.mask(language.parse(one.rule, fields=fields), frame, today=date(2024, 3, 1)).to_numpy()
        for one in segment_templates.RFM
    ]
    assert len(masks) == 11
    assert (sum(mask.astype(int) for mask in masks) == 1).all()
    assert all(mask.any() for mask in masks)


def test_a_list_is_made_filled_and_never_loses_whom_it_holds(admin_client, admin_user):
    world.customer("K1"), world.customer("K2")
    answer = admin_client.post(
        page("segment_new_list"), {"name": "Friends", "slug": "friends", "numbers": "K1\nnobody"}, follow=True
    )
    made = Segment.objects.get()
    assert made.kind == Segment.Kind.LIST
    assert said(answer) == ["1 customer noted.", "1 number belongs to no customer: nobody"]
    upload = SimpleUploadedFile("more.csv", b"customer;name\nK2;Eva\n")
    admin_client.post(page("segment_by_hand", made.pk), {"what": "in", "file": upload})
    admin_client.post(page("segment_by_hand", made.pk), {"what": "out", "numbers": "K1"})
    entries = dict(ListEntry.objects.values_list("customer__reference", "is_member"))
    assert entries == {"K1": False, "K2": True}
    assert ListEntry.objects.first().created_by == admin_user
    assert AuditEntry.objects.filter(action="segment.put_by_hand").count() == 3
    text = html(admin_client.get(page("segment_change", made.pk)))
    assert "data-rule-builder" not in text
    assert "Put in: 1, taken out: 1" in text
    saved = admin_client.post(
        page("segment_change", made.pk), {"name": "Best friends", "is_active": "on", "opened": 1}
    )
    assert (saved.status_code, Segment.objects.get().name) == (302, "Best friends")
    admin_client.post(page("segment_by_hand", made.pk), {"what": "forget", "numbers": "K1"})
    assert ListEntry.objects.count() == 1


def test_a_list_says_what_is_wrong_with_what_it_was_given(admin_client):
    made = world.segment()
    answer = admin_client.post(page("segment_by_hand", made.pk), {"what": "in", "numbers": " "}, follow=True)
    assert said(answer) == ["Give customer numbers, one a line, or a file of them."]
    taken = admin_client.post(page("segment_new_list"), {"name": "X", "slug": made.slug, "numbers": ""})
    assert "short name already" in html(taken)
    junk = SimpleUploadedFile("x.csv", b"\xff\xfe\x00,\x00")
    assert (
        admin_client.post(page("segment_by_hand", made.pk), {"what": "in", "file": junk}).status_code == 302
    )
    assert not ListEntry.objects.exists()


def test_what_a_segment_builds_on_is_shown(admin_client):
    first = world.segment("First")
    second = world.segment("Second", rule={"all": [{"field": f"segment.{first.slug}", "op": "in"}]})
    text = html(admin_client.get(page("segment_change", second.pk)))
    assert "Builds on:" in text
    assert page("segment_change", first.pk) in text
    assert "segment “Second”" in html(admin_client.get(page("segment_change", first.pk)))


def test_who_was_in_on_a_day_is_told_with_time_and_cause(admin_client):
    """The shop is in Auckland: its 1 March ends at 11:00 UTC."""
    Shop.objects.update(time_zone="Pacific/Auckland")
    made = world.segment()
    stayed, gone, late = (world.customer(name) for name in ("stayed", "gone", "late"))
    day = datetime(2024, 3, 1, 10, 59, tzinfo=UTC)
    Membership.objects.create(segment=made, customer=stayed, entered_at=day, entered_by=MembershipCause.EVENT)
    Membership.objects.create(segment=made, customer=late, entered_at=day + timedelta(minutes=1))
    for left in (day, day + timedelta(minutes=1)):
        PastMembership.objects.create(
            segment=made,
            customer=gone if left > day else late,
            entered_at=day - timedelta(days=9),
            entered_by=MembershipCause.BATCH,
            left_at=left,
            left_by=MembershipCause.EDIT,
        )
    with time_machine.travel(datetime(2024, 3, 5, tzinfo=UTC), tick=False):
        answer = admin_client.get(page("segment_members", made.pk), {"on": "2024-03-01"})
        view = answer.context["view"]
        assert [(row.reference, row.because, row.left_because) for row in view.rows] == [
            ("stayed", "New event", ""),
            ("gone", "Classification run", "Segment edited"),
        ]
        assert (view.count, view.entered, view.left) == ("2", "1", "1")
        for odd in ("", "yesterday", "0001-01-01", "9999-12-31"):
            assert admin_client.get(page("segment_members", made.pk), {"on": odd}).status_code == 200


def test_moves_between_tiers_are_counted_from_the_last_known_class(admin_client):
    tier = Target.objects.get(slug="value_tier")
    version = world.version(1, serves=("value_tier",))
    told = {
        "a": [(date(2024, 1, 1), "low"), (date(2024, 2, 1), "high")],
        "b": [(date(2024, 1, 1), "high"), (date(2024, 3, 9), "low")],
        "c": [(date(2024, 2, 2), "middle")],
    }
    for reference, labels in told.items():
        who = world.customer(reference)
        for as_of, label in labels:
            ScoreHistory.objects.create(
                customer=who, target=tier, version=version, as_of=as_of, value=1, label=label
            )
    found = segment_history.migration(tier, date(2024, 1, 15), date(2024, 2, 20))
    assert found.flows == {("low", "high"): 1, ("high", "high"): 1, ("", "middle"): 1}
    with time_machine.travel(datetime(2024, 6, 1, tzinfo=UTC), tick=False):
        answer = admin_client.get(page("segment_migration"), {"first": "2024-01-15", "last": "2024-02-20"})
        assert "Of 2 customers with a tier on the first day, 1 were in the same one" in html(answer)
        assert answer.content.count(b"tw-flow tw-tone") == 3
        back = admin_client.get(page("segment_migration"), {"first": "2024-02-20", "last": "2024-01-15"})
        assert "must come before" in html(back)
    ScoreHistory.objects.all().delete()
    assert "train and classify first" in html(admin_client.get(page("segment_migration")))


def test_a_segment_that_grows_old_is_marked_and_raises_one_alert_until_it_is_fresh(admin_client):
    made = world.segment()
    start = datetime(2024, 6, 1, tzinfo=UTC)
    Segment.objects.update(refreshed_at=start)
    with time_machine.travel(start + timedelta(hours=25), tick=False):
        segment_history.watch_freshness()
        assert not Alert.objects.exists()
    with time_machine.travel(start + timedelta(hours=30), tick=False):
        segment_history.watch_freshness()
        segment_history.watch_freshness()
        assert [alert.resolved_at for alert in Alert.objects.all()] == [None]
        assert "not refreshed for 30 hours" in html(admin_client.get(page("segment_changelist")))
        assert "not refreshed for 30 hours" in html(admin_client.get(page("segment_change", made.pk)))
        Segment.objects.update(refreshed_at=start + timedelta(hours=30))
        segment_history.watch_freshness()
    assert Alert.objects.get().resolved_at is not None


def test_the_preview_takes_text_and_says_the_rule_in_its_other_forms(admin_client):
    answer = preview(admin_client, text=AS_TEXT)
    assert answer["rule"]["all"][1] == {
        "event": {"kind": ["order_placed"], "within_days": 30}, "op": ">=", "value": 2,
    }  # fmt: skip
    assert answer["text"] == AS_TEXT
    assert answer["words"].startswith("Country is France and at least 2 times: ordered")
    assert (answer["final"], answer["exact"]) == (True, False)
    assert "Line 1, column 8" in preview(admin_client, text="rubbish")["problem"]["message"]
    assert "problem" in preview(admin_client, text="(" * 5000)
    assert preview(admin_client, rule=RULE, customer="nobody")["test"]["problem"]
    assert "problem" in preview(admin_client, rule={"all": []}, customer="nobody")
    assert preview(admin_client, rule=RULE, customer="K\x00")["test"]["problem"]


def test_the_builder_is_told_what_may_be_asked_of_events(admin_client):
    told = admin_client.get(page("segment_rule_fields")).json()
    assert {"order_placed", "viewed"} <= {one["value"] for one in told["events"]["kinds"]}
    assert {one["name"] for one in told["events"]["measures"]} >= {"count", "first", "last_category"}
    assert "this_month" in {one["value"] for one in told["periods"]}


def test_a_rule_of_any_shape_is_answered_and_never_fails(admin_client):
    rules = [
        None, [], 5, "x", {"all": [{"event": None, "op": ">=", "value": 1}]}, {"event": {}}, {"op": []},
        {"field": {}, "op": {}}, {"event": {"kind": [[]]}, "op": "=", "value": 1},
        {"field": "random.x", "op": "<", "value": {}}, {"field": "event.category", "op": "any_of", "value": ["x"]},
        {"field": "list.x", "op": "is", "value": True},
    ]  # fmt: skip
    for rule in rules:
        assert admin_client.post(page("segment_add"), form(json.dumps(rule))).status_code in (200, 302), rule
        assert preview(admin_client, rule=rule), rule
