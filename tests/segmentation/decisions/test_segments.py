"""Segments as definitions: versions, circles, what uses what."""

from __future__ import annotations

from datetime import timedelta

import pytest

from segmentation import identities, memberships, segments
from segmentation.models import (
    Alert,
    AttributeDefinition,
    AuditEntry,
    Customer,
    Membership,
    MembershipCause,
    PastMembership,
    Segment,
    SegmentVersion,
)
from segmentation.models.customers import PriorityLevel
from segmentation.news import News
from segmentation.rules.language import RuleError
from segmentation.segments import SegmentInUse
from tests.segmentation.decisions.shop import (
    FREQUENT,
    LEAVING,
    TODAY,
    campaign,
    frame,
    offer,
    priority,
    segment,
)


def inside(slug: str, op: str = "in") -> dict:
    return {"field": f"segment.{slug}", "op": op}


def test_saving_keeps_every_version_and_asks_for_a_refresh(nudges):
    made = segment("frequent", FREQUENT)
    segments.save_rule(made, LEAVING)
    assert list(made.versions.order_by("number").values_list("number", flat=True)) == [1, 2]
    assert made.version.rule == LEAVING
    assert AuditEntry.objects.filter(action="segment.rule_saved").count() == 2


def test_a_segment_is_of_the_model_while_its_rule_predicts_itself_or_through_another():
    leaving, plain = segment("leaving", LEAVING), segment("plain", FREQUENT)
    both = segment("both", {"all": [inside("leaving"), FREQUENT]})
    assert (leaving.kind, plain.kind, both.kind) == ("model", "rule", "model")
    segments.save_rule(both, FREQUENT)
    assert Segment.objects.get(slug="both").kind == "rule"


def test_an_unchanged_rule_adds_no_version():
    made = segment("frequent", FREQUENT)
    segments.save_rule(made, {"field": "feature.orders_90d", "op": ">=", "value": 3.0})
    assert SegmentVersion.objects.count() == 1


def test_a_wrong_rule_changes_nothing():
    made = segment("frequent", FREQUENT)
    with pytest.raises(RuleError):
        segments.save_rule(made, {"all": []})
    assert SegmentVersion.objects.count() == 1


def test_segments_may_not_refer_to_each_other_in_a_circle():
    a, b = segment("a", FREQUENT), segment("b", inside("a"))
    segment("c", {"none": [inside("b")]})
    with pytest.raises(RuleError, match="itself"):
        segments.save_rule(a, inside("a"))
    with pytest.raises(RuleError, match="circle: .*→"):
        segments.save_rule(a, {"any": [FREQUENT, inside("c", "not_in")]})
    assert Segment.objects.get(slug="a").version.rule == FREQUENT
    segments.save_rule(b, {"all": [inside("a"), LEAVING]})


def test_a_used_segment_cannot_go_or_rest_and_says_who_uses_it():
    made = segment("frequent", FREQUENT)
    segment("other", inside("frequent"))
    campaign("c", ({"any": [inside("frequent")]}, offer("a")))
    priority(1, made, PriorityLevel.HIGH)
    for attempt in (lambda: segments.delete(made), lambda: segments.set_active(made, False)):
        with pytest.raises(SegmentInUse) as caught:
            attempt()
        assert caught.value.users == ("segment “Other”", "campaign “C”", "priority rule “Rule 1”")
    assert Segment.objects.get(slug="frequent").is_active


def test_an_unused_segment_goes_with_its_members():
    made = segment("frequent", FREQUENT)
    memberships.publish(memberships.evaluate(frame({"orders": 4}), today=TODAY), cause=1)
    segments.delete(made)
    assert not Segment.objects.exists()
    assert not Membership.objects.exists()


def test_definitions_come_after_what_they_refer_to_and_know_whether_they_predict():
    segment("z", LEAVING)
    segment("a", inside("z"))
    segment("plain", FREQUENT)
    found = {definition.slug: definition for definition in segments.definitions()}
    assert list(found).index("z") < list(found).index("a")
    assert {slug: d.predicts for slug, d in found.items()} == {"a": True, "z": True, "plain": False}
    assert [d.slug for d in segments.definitions(["a"])] == ["z", "a"]
    assert segments.dependents("z", segments.definitions()) == {"z", "a"}


def test_a_segment_whose_column_is_gone_is_left_out_and_raises_an_alert_until_it_is_edited():
    vip = AttributeDefinition.objects.create(slug="vip", label="VIP", kind="boolean")
    made = segment("vips", {"field": "attribute.vip", "op": "is", "value": True})
    vip.delete()
    assert segments.definitions() == segments.definitions() == ()
    assert Alert.objects.filter(resolved_at=None).count() == 1
    segments.save_rule(made, FREQUENT)
    assert not Alert.objects.filter(resolved_at=None).exists()
    assert [d.slug for d in segments.definitions()] == ["vips"]


def published(*rows: dict, cause: int = MembershipCause.BATCH):
    return memberships.publish(memberships.evaluate(frame(*rows), today=TODAY), cause=cause)


def members(slug: str) -> set[int]:
    return set(Membership.objects.filter(segment__slug=slug).values_list("customer_id", flat=True))


def test_only_the_difference_is_written_with_its_history():
    segment("frequent", FREQUENT)
    assert published({"orders": 4}, {"orders": 1}, {"orders": 3}).entered == {"frequent": 2}
    since = dict(Membership.objects.values_list("customer_id", "entered_at"))
    assert published({"orders": 4}, {"orders": 1}, {"orders": 3}).changes == 0
    report = published({"orders": 5}, {"orders": 6}, {"orders": 0}, cause=MembershipCause.EVENT)
    assert (report.entered, report.left) == ({"frequent": 1}, {"frequent": 1})
    assert members("frequent") == {1, 2}
    by_batch, by_event = MembershipCause.BATCH, MembershipCause.EVENT
    lasting = Membership.objects.order_by("customer_id").values_list(
        "customer_id", "entered_at", "entered_by"
    )
    assert [row for row in lasting if row[0] == 1] == [(1, since[1], by_batch)]
    assert [(customer, cause) for customer, _at, cause in lasting] == [(1, by_batch), (2, by_event)]
    over = PastMembership.objects.get()
    assert (over.customer_id, over.entered_at, over.entered_by) == (3, since[3], by_batch)
    assert (over.left_by, over.left_at >= since[3]) == (by_event, True)
    assert Segment.objects.get(slug="frequent").member_count == 2


def test_customers_outside_the_frame_are_left_alone():
    segment("frequent", FREQUENT)
    published({"orders": 4}, {"orders": 4})
    evaluated = memberships.evaluate(frame({"orders": 1}), today=TODAY)
    memberships.publish(evaluated, cause=1)
    assert members("frequent") == {2}


def test_segments_of_segments_follow_and_who_is_not_profiled_is_in_none_that_predicts():
    segment("leaving", LEAVING)
    segment("staying", {"none": [inside("leaving")]})
    segment("both", {"all": [inside("staying", "not_in"), FREQUENT]})
    published({"churn": 0.9, "orders": 4}, {"churn": 0.1}, {"churn": 0.9, "profiled": False, "orders": 4})
    assert {slug: members(slug) for slug in ("leaving", "staying", "both")} == {
        "leaving": {1},
        "staying": {2},
        "both": {1},
    }


def test_large_frames_leave_counting_to_the_end_of_the_run(monkeypatch):
    monkeypatch.setattr(memberships, "COUNTED_AT_ONCE", 1)
    segment("frequent", FREQUENT)
    published({"orders": 4}, {"orders": 4})
    assert Segment.objects.get().member_count == 0
    memberships.recount()
    fresh = Segment.objects.get()
    assert fresh.member_count == 2
    assert fresh.refreshed_at is not None


def test_a_resting_segment_is_emptied_and_its_members_leave_in_the_history():
    made = segment("frequent", FREQUENT)
    published({"orders": 4})
    segments.set_active(made, False)
    left = []
    memberships.refresh_segment(made.pk, on_decided=left.extend)
    assert members("frequent") == set()
    assert left == [News(1)]
    assert PastMembership.objects.filter(left_by=MembershipCause.EDIT).count() == 1
    assert Segment.objects.get().member_count == 0


def test_refreshing_a_segment_that_is_gone_does_nothing():
    assert memberships.refresh_segment(999).changes == 0


def test_who_is_merged_into_another_leaves_every_segment():
    segment("frequent", FREQUENT)
    published({"orders": 4}, {"orders": 4})
    identities.merge(Customer.objects.get(pk=1), Customer.objects.get(pk=2))
    assert members("frequent") == {1}
    assert Segment.objects.get().member_count == 1
    assert PastMembership.objects.filter(customer_id=2).count() == 1


def test_a_segment_whose_refresh_was_lost_is_found_until_it_is_refreshed():
    made = segment("frequent", FREQUENT)
    assert memberships.stale_segment_ids(older_than=timedelta(minutes=1)) == []
    assert memberships.stale_segment_ids(older_than=-timedelta(minutes=1)) == [made.pk]
    memberships.refresh_segment(made.pk)
    assert memberships.stale_segment_ids(older_than=-timedelta(minutes=1)) == []
    segments.set_active(made, False)
    assert memberships.stale_segment_ids(older_than=-timedelta(minutes=1)) == [made.pk]
