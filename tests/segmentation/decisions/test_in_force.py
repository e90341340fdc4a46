"""What was worked out from the rules is kept, and never outlives an edit, whoever makes it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest
from django.db import connection, transaction
from django.utils import timezone

from segmentation import in_force, segments
from segmentation.decisions import policy as policies
from segmentation.models import (
    Alert,
    AttributeDefinition,
    Campaign,
    CampaignRule,
    EventSource,
    HoldoutGroup,
    ModelSlot,
    Offer,
    ScoringRun,
    Segment,
    SegmentVersion,
    ServicePriorityRule,
    Shop,
    ShopContext,
    Target,
)
from tests.segmentation.decisions.shop import (
    FREQUENT,
    LEAVING,
    TODAY,
    campaign,
    offer,
    priority,
    run,
    segment,
)

EDITS: dict[str, Callable[[], object]] = {
    "segment's rule": lambda: segments.save_rule(Segment.objects.get(), LEAVING),
    "segment switched off": lambda: Segment.objects.update(is_active=False),
    "segment's name": lambda: Segment.objects.update(name="Others"),
    "rule of a version": lambda: SegmentVersion.objects.update(rule=LEAVING),
    "campaign": lambda: Campaign.objects.update(status=Campaign.Status.ENDED),
    "campaign rule": lambda: CampaignRule.objects.update(condition=LEAVING),
    "offer": lambda: Offer.objects.update(is_active=False),
    "priority rule": lambda: ServicePriorityRule.objects.update(level=2),
    "holdout": lambda: HoldoutGroup.objects.create(salt="x", percent=5),
}


def elsewhere(edit: Callable[[], object]) -> None:
    """Run it in a thread of its own, so on a connection of its own."""

    def work() -> None:
        try:
            edit()
        finally:
            connection.close()

    thread = Thread(target=work)
    thread.start()
    thread.join()


def shop_with_rules() -> None:
    often = segment("often", FREQUENT)
    campaign("thanks", (often, offer("gift")))
    priority(1, often, 3)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edit_on_another_connection_is_in_the_next_policy(edit):
    shop_with_rules()
    before = policies.current(TODAY)
    assert policies.current(TODAY) is before
    elsewhere(edit)
    assert policies.current(TODAY).sha256 != before.sha256


@pytest.mark.django_db(transaction=True)
def test_an_edit_on_another_connection_decides_the_next_customer():
    shop_with_rules()
    (decided,) = run({"orders": 5})
    assert (decided.offer, decided.priority) == ("gift", 3)
    elsewhere(lambda: segments.save_rule(Segment.objects.get(), LEAVING))
    (decided,) = run({"orders": 5, "version": 2})
    assert (decided.offer, decided.priority_changed) == (None, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "edit",
    [
        lambda: AttributeDefinition.objects.create(slug="club", label="Club", kind="text"),
        lambda: Target.objects.filter(slug="churn").update(is_active=False),
        lambda: Shop.objects.update(time_zone="Europe/Paris"),
        lambda: EventSource.objects.create(slug="shop", live_since=timezone.now()),
        lambda: ModelSlot.objects.create(target=Target.objects.get(slug="churn")),
        lambda: ScoringRun.objects.update(context=ShopContext.objects.get()),
    ],
    ids=["a new column", "a target that rests", "the shop", "a source", "a champion", "a run's numbers"],
)
def test_what_scores_and_fields_are_made_of_is_seen_as_well(edit):
    Shop.get()
    ShopContext.objects.create(as_of=TODAY, catalogue_version="x", data={})
    ScoringRun.objects.create(as_of=TODAY)
    before = in_force.stamp()
    elsewhere(edit)
    assert in_force.stamp() != before


@pytest.mark.django_db
def test_what_is_known_costs_one_query(django_assert_num_queries):
    shop_with_rules()
    policies.current(TODAY), segments.definitions()
    with django_assert_num_queries(2):
        policies.current(TODAY), segments.definitions()


@pytest.mark.django_db
def test_a_steady_block_asks_once_and_the_next_one_sees_the_edit(django_assert_num_queries):
    shop_with_rules()
    policies.current(TODAY), segments.definitions()
    with in_force.steady():
        with django_assert_num_queries(1):
            before = policies.current(TODAY)
            segments.definitions()
        Offer.objects.update(is_active=False)
        assert policies.current(TODAY) is before
    with in_force.steady():
        assert policies.current(TODAY).sha256 != before.sha256


@pytest.mark.django_db
def test_members_that_come_and_go_are_no_edit():
    shop_with_rules()
    before = in_force.stamp()
    Segment.objects.update(member_count=7, refreshed_at=None)
    assert in_force.stamp() == before


@pytest.mark.django_db
def test_an_edit_that_is_rolled_back_leaves_nothing_behind():
    shop_with_rules()
    before = policies.current(TODAY)
    with transaction.atomic():
        Offer.objects.update(is_active=False)
        assert policies.current(TODAY).sha256 != before.sha256
        transaction.set_rollback(True)
    assert policies.current(TODAY).sha256 == before.sha256


@pytest.mark.django_db
def test_what_was_edited_while_it_was_read_is_not_kept():
    shop_with_rules()

    def read_and_edited() -> tuple[str, bool]:
        Offer.objects.update(name="New")
        return "half old, half new", True

    before = Offer.objects.get().name
    in_force.kept("mixed", read_and_edited)
    Offer.objects.update(name=before)
    assert in_force.kept("mixed", lambda: ("whole", True)) == "whole"


@pytest.mark.django_db
def test_a_rule_that_cannot_be_read_is_complained_about_until_it_is_mended():
    shop_with_rules()
    CampaignRule.objects.update(condition={"field": "attribute.gone", "op": "is_empty"})
    for _turn in range(2):
        Alert.objects.all().delete()
        policies.current(TODAY)
        assert Alert.objects.count() == 1
