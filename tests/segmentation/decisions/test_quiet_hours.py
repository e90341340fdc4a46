"""Hours and days in which the shop contacts nobody: they hold for every campaign, on each customer's own clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from django.core.exceptions import ValidationError

from segmentation import campaigns
from segmentation.decisions import explain, hours, replay
from segmentation.decisions import policy as policies
from segmentation.decisions.terms import CampaignTerms
from segmentation.models import Customer, DecideAgain, Decision, Shop
from tests.segmentation.decisions.shop import FREQUENT, campaign, offer, run, verdicts

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _shop(db):
    Shop.get()


def quiet(start, end, *, days=(), **campaign):
    """Terms of a campaign in a shop that is quiet from `start` to `end` and contacts on these days alone."""
    own = {"hours": None, "weekdays": (), **campaign}
    return CampaignTerms(
        1,
        "c",
        "C",
        None,
        needs_consent=False,
        re_entry_days=None,
        quiet=(start, end),
        contact_days=days,
        **own,
    )


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        # 1 June 2024 is a Saturday; Berlin is two hours ahead of UTC.
        (datetime(2024, 6, 3, 10, tzinfo=UTC), True),
        (datetime(2024, 6, 3, 19, 59, tzinfo=UTC), True),
        (datetime(2024, 6, 3, 20, tzinfo=UTC), False),
        (datetime(2024, 6, 4, 5, 59, tzinfo=UTC), False),
        (datetime(2024, 6, 4, 6, tzinfo=UTC), True),
        (datetime(2024, 6, 2, 10, tzinfo=UTC), False),
    ],
)
def test_the_shops_quiet_hours_and_days_hold_for_every_campaign(at, opens):
    terms = quiet(time(22), time(8), days=(0, 1, 2, 3, 4))
    assert hours.is_open(terms, at.astimezone(hours.zone("Europe/Berlin", "UTC"))) is opens


def test_a_campaign_may_be_stricter_and_not_laxer():
    zone = hours.zone("Europe/Berlin", "UTC")
    strict = quiet(time(22), time(8), hours=(time(10), time(12)))
    lax = quiet(time(22), time(8), hours=(time(6), time(23)))
    open_ = [
        [at for at in range(24) if hours.is_open(terms, datetime(2024, 6, 3, at, tzinfo=zone))]
        for terms in (strict, lax)
    ]
    assert open_ == [[10, 11], list(range(8, 22))]


@pytest.mark.parametrize(
    ("evening", "opens"),
    [
        # Clocks go forward at 01:00 UTC: 02:30 does not exist in Berlin, 03:30 takes its place.
        (datetime(2024, 3, 30, 22, tzinfo=UTC), datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),
        # Clocks go back: the first of the two 02:30, and the hour that comes twice stays open.
        (datetime(2024, 10, 26, 22, tzinfo=UTC), datetime(2024, 10, 27, 0, 30, tzinfo=UTC)),
        # An ordinary night.
        (datetime(2024, 6, 3, 22, tzinfo=UTC), datetime(2024, 6, 4, 0, 30, tzinfo=UTC)),
    ],
)
def test_quiet_hours_end_right_across_a_clock_change(evening, opens):
    terms, zone = quiet(time(22), time(2, 30)), hours.zone("Europe/Berlin", "UTC")
    found = hours.next_opening(terms, evening.astimezone(zone))
    assert found == opens
    assert hours.is_open(terms, found.astimezone(zone))
    assert not hours.is_open(terms, (found - timedelta(minutes=31)).astimezone(zone))


def test_after_quiet_days_the_next_allowed_morning_opens():
    """Friday evening, contacts on weekdays, the campaign on Mondays and Sundays from nine."""
    terms = quiet(time(20), time(8), days=(0, 1, 2, 3, 4), weekdays=(0, 6), hours=(time(9), time(18)))
    friday = datetime(2024, 6, 7, 21, tzinfo=hours.zone("Europe/Berlin", "UTC"))
    assert hours.next_opening(terms, friday) == datetime(2024, 6, 10, 7, tzinfo=UTC)


def test_quiet_hours_of_the_shop_in_the_customers_own_zone():
    """The shop is quiet from 21 to 8; the customer lives in New York, where it is 23:30."""
    Shop.objects.update(quiet_from=time(21), quiet_to=time(8))
    Customer.objects.create(pk=1, reference="c1", time_zone="America/New_York")
    campaign("c", (FREQUENT, offer("a")))
    run({"orders": 4}, at=datetime(2024, 6, 1, 3, 30, tzinfo=UTC))
    assert verdicts() == ["OUTSIDE_HOURS"]
    assert DecideAgain.objects.get().at == datetime(2024, 6, 1, 12, tzinfo=UTC)
    found = explain(Decision.objects.latest("pk")).offers[0]
    assert "the shop contacts nobody from 21:00 to 08:00" in found.sentence
    run({"orders": 4, "version": 2}, at=datetime(2024, 6, 1, 12, tzinfo=UTC))
    assert verdicts() == ["WON"]
    last = Decision.objects.select_related("customer", "policy", "snapshot").latest("pk")
    assert replay(last) == bytes(last.verdicts)


def test_the_shops_hours_are_part_of_the_policy_and_only_where_there_are_any():
    campaign("c", (FREQUENT, offer("a")))
    before = policies.current(date(2024, 6, 1))
    assert "contact" not in before.content
    Shop.objects.update(contact_days=[0, 1])
    after = policies.current(date(2024, 6, 1))
    assert after.sha256 != before.sha256
    assert policies.load(after.content).candidates[0].campaign.contact_days == (0, 1)


def test_a_campaign_that_would_never_be_open_is_refused():
    Shop.objects.update(quiet_from=time(20), quiet_to=time(8), contact_days=[0, 1, 2, 3, 4])
    for terms in ({"hours_from": time(21), "hours_to": time(23)}, {"weekdays": [5, 6]}):
        with pytest.raises(ValidationError, match="contacts nobody"):
            campaigns.validate(campaign(f"c{len(terms)}", (FREQUENT, offer("a")), start=False, **terms))
    campaigns.validate(
        campaign("fine", (FREQUENT, offer("b")), start=False, hours_from=time(19), hours_to=time(23))
    )
