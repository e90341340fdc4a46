"""Campaigns from draft to end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError

from segmentation import campaigns
from segmentation.campaigns import MoveRefused
from segmentation.models import AuditEntry, Campaign, HoldoutGroup, Offer
from tests.segmentation.decisions.shop import FREQUENT, TODAY, campaign, offer, segment

Status = Campaign.Status
ALLOWED = {
    (Status.DRAFT, Status.SCHEDULED), (Status.DRAFT, Status.RUNNING),
    (Status.SCHEDULED, Status.DRAFT), (Status.SCHEDULED, Status.RUNNING), (Status.SCHEDULED, Status.ENDED),
    (Status.RUNNING, Status.PAUSED), (Status.RUNNING, Status.ENDED),
    (Status.PAUSED, Status.RUNNING), (Status.PAUSED, Status.ENDED),
}  # fmt: skip


@pytest.mark.parametrize("now", Status.values)
@pytest.mark.parametrize("to", Status.values)
def test_only_the_moves_that_make_sense_are_allowed(now, to):
    start = TODAY + timedelta(days=1) if to == Status.SCHEDULED else None
    made = campaign("c", (FREQUENT, offer("a")), start=False, starts_on=start)
    Campaign.objects.filter(pk=made.pk).update(status=now)
    if (now, to) in ALLOWED:
        assert campaigns.move(made, to, today=TODAY).status == to
        assert AuditEntry.objects.get(action="campaign.moved").detail == {"before": now, "after": to}
    else:
        with pytest.raises(MoveRefused, match="cannot become"):
            campaigns.move(made, to, today=TODAY)
        assert Campaign.objects.get().status == now


def refusal(**changes) -> str:
    made = campaign("c", (FREQUENT, offer("a")), start=False, **changes)
    with pytest.raises(ValidationError) as caught:
        campaigns.move(made, Status.RUNNING, today=TODAY)
    assert Campaign.objects.get().status == Status.DRAFT
    assert not HoldoutGroup.objects.exists()
    return " ".join(caught.value.messages)


def test_a_campaign_that_has_not_begun_or_is_over_cannot_start():
    assert "schedule" in refusal(starts_on=TODAY + timedelta(days=1))


def test_a_campaign_that_is_over_cannot_start():
    assert "later one" in refusal(ends_on=TODAY - timedelta(days=1))


def test_an_offer_may_not_outlive_the_wait_for_the_next():
    assert "longer than the 7 days" in refusal(re_entry="days", re_entry_days=7)


def test_everything_that_is_wrong_is_said_at_once():
    resting = segment("resting", FREQUENT)
    resting.is_active = False
    resting.save()
    made = campaign(
        "c", (resting, offer("a")), ({"all": []}, offer("b", is_active=False)), start=False, starts_on=None
    )
    with pytest.raises(ValidationError) as caught:
        campaigns.move(made, Status.RUNNING, today=TODAY)
    said = " ".join(caught.value.messages)
    assert all(
        words in said for words in ("“Resting” is switched off", "“B” is switched off", "group is empty")
    )


def test_a_campaign_without_rules_cannot_start():
    made = campaign("c", start=False)
    with pytest.raises(ValidationError, match="at least one rule"):
        campaigns.move(made, Status.RUNNING, today=TODAY)


def test_a_schedule_needs_a_first_day():
    made = campaign("c", (FREQUENT, offer("a")), start=False)
    with pytest.raises(ValidationError, match="first day"):
        campaigns.move(made, Status.SCHEDULED, today=TODAY)


def test_the_sweep_starts_what_is_due_and_ends_what_is_over():
    due = campaign("due", (FREQUENT, offer("a")), start=False, starts_on=TODAY)
    later = campaign("later", (FREQUENT, offer("a")), start=False, starts_on=TODAY + timedelta(days=1))
    over = campaign("over", (FREQUENT, offer("a")), ends_on=TODAY)
    Campaign.objects.filter(pk__in=[due.pk, later.pk]).update(status=Status.SCHEDULED)
    Campaign.objects.filter(pk=over.pk).update(ends_on=TODAY - timedelta(days=1))
    assert campaigns.advance(TODAY) == 2
    assert campaigns.advance(TODAY) == 0
    statuses = dict(Campaign.objects.values_list("slug", "status"))
    assert statuses == {"due": Status.RUNNING, "later": Status.SCHEDULED, "over": Status.ENDED}


def test_a_broken_campaign_does_not_stop_the_sweep():
    broken = campaign("broken", (FREQUENT, offer("a")), start=False, starts_on=TODAY)
    Campaign.objects.filter(pk=broken.pk).update(status=Status.SCHEDULED)
    Offer.objects.update(is_active=False)
    assert campaigns.advance(TODAY) == 0


def test_an_edited_holdout_of_a_running_campaign_is_a_new_draw():
    made = campaign("c", (FREQUENT, offer("a")), holdout_percent=10)
    made.holdout_percent = 20
    made.save()
    campaigns.sync_holdout(made)
    assert list(HoldoutGroup.objects.order_by("draw").values_list("percent", "is_current")) == [
        (10, False),
        (20, True),
    ]
    draft = campaign("d", (FREQUENT, offer("a")), start=False, holdout_percent=10)
    campaigns.sync_holdout(draft)
    assert not HoldoutGroup.objects.filter(campaign=draft).exists()
