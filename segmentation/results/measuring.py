"""Results of campaigns as rows: asked for by a person, the API or the night, worked out by a worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from segmentation import leases
from segmentation.jobs import Job, enqueue
from segmentation.models import AuditEntry, Campaign, CampaignResult, LeaseState, Shop
from segmentation.results import arms, report, tallies

WINDOW_DAYS, MOST_WINDOW = 30, 365
RELEVANT_PERCENT, MOST_RELEVANT = 10, 500
RETRY_AFTER: Final = timedelta(seconds=30)
# After its end a campaign is measured on until every window is over, and a little longer for late orders.
AFTERWARDS: Final = timedelta(days=30)
KEPT: Final = 50


def request(
    campaign: Campaign, *, window_days: int | None = None, relevant_percent: int | None = None, by: Any = None
) -> CampaignResult:
    """Ask a worker to measure the campaign, or return the measurement under way. Raises ValidationError.

    What is not said is as it was asked last time.
    """
    before = CampaignResult.objects.filter(campaign=campaign).order_by("-pk").first()
    window = window_days or (before.window_days if before else usual_window(campaign))
    relevant = relevant_percent or (before.relevant_percent if before else RELEVANT_PERCENT)
    if not 1 <= window <= MOST_WINDOW:
        raise ValidationError(_("Orders count for 1 to %(most)s days.") % {"most": MOST_WINDOW})
    if not 1 <= relevant <= MOST_RELEVANT:
        raise ValidationError(
            _("An effect worth knowing is from 1 to %(most)s percent.") % {"most": MOST_RELEVANT}
        )
    try:
        with transaction.atomic():
            row = CampaignResult.objects.create(
                campaign=campaign,
                window_days=window,
                relevant_percent=relevant,
                requested_by=by if getattr(by, "is_authenticated", False) else None,
            )
            if by is not None:
                AuditEntry.record("campaign.measured", campaign, actor=by, window_days=window)
            enqueue(Job.MEASURE, result_id=row.pk)
    except IntegrityError:
        open_ = [LeaseState.QUEUED, LeaseState.RUNNING]
        return CampaignResult.objects.filter(campaign=campaign, state__in=open_).latest("pk")
    return row


def usual_window(campaign: Campaign) -> int:
    """As long as the longest of the campaign's offers is valid."""
    longest = campaign.rules.aggregate(most=Max("offer__valid_days"))["most"]
    return min(max(longest or WINDOW_DAYS, 1), MOST_WINDOW)


def latest(campaign: Campaign) -> CampaignResult | None:
    """The newest result that is there."""
    done = CampaignResult.objects.filter(campaign=campaign, state=LeaseState.DONE, result__isnull=False)
    return done.order_by("-pk").first()


def under_way(campaign: Campaign) -> CampaignResult | None:
    """The newest measurement, unless it is done: it waits, runs, or failed."""
    newest = CampaignResult.objects.filter(campaign=campaign).order_by("-pk").first()
    return None if newest is None or newest.state == LeaseState.DONE else newest


def request_all(today: date) -> int:
    """For the night: every campaign whose result can still change. Returns how many were asked for."""
    asked = 0
    for campaign in Campaign.objects.exclude(status__in=[Campaign.Status.DRAFT, Campaign.Status.SCHEDULED]):
        if _changes(campaign, today):
            request(campaign)
            asked += 1
    return asked


def _changes(campaign: Campaign, today: date) -> bool:
    if campaign.status != Campaign.Status.ENDED or campaign.ends_on is None:
        # One that somebody ended by hand has no last day that is true: until it was measured after it all.
        before = latest(campaign)
        return campaign.status != Campaign.Status.ENDED or before is None or _waits(before)
    return today <= campaign.ends_on + timedelta(days=usual_window(campaign)) + AFTERWARDS


def _waits(row: CampaignResult) -> bool:
    return any(arm["waiting"] for arm in (row.result or {}).get("arms", {}).values())


def work(result_id: int) -> None:
    """Measure one campaign, if it waits."""
    for row in leases.claim(CampaignResult.objects.select_related("campaign").filter(pk=result_id)):
        with leases.worked(row, after=RETRY_AFTER):
            as_of, result = measure(
                row.campaign,
                window_days=row.window_days,
                relevant_percent=row.relevant_percent,
                on_chunk=partial(_tell, row),
            )
            leases.finish(row, result=result, as_of=as_of)
            _prune(row)


def _tell(row: CampaignResult, customers: int) -> None:
    leases.renew(row, note=_("%(count)s customers") % {"count": customers})


def measure(
    campaign: Campaign,
    *,
    window_days: int,
    relevant_percent: int = RELEVANT_PERCENT,
    as_of: date | None = None,
    on_chunk: Callable[[int], None] | None = None,
) -> tuple[date, dict[str, Any]]:
    """(as of, result): everything that was before `as_of`, else before the end of today. on_chunk: customers so far."""
    shop = Shop.get()
    day = as_of or shop.scoring_as_of()
    tally = tallies.count(
        arms.places(campaign=campaign.pk),
        shop=shop,
        window_days=window_days,
        as_of=day,
        margin_minor=report.margin_of_purchase(campaign),
        on_chunk=on_chunk,
    )
    return day, report.build(
        tally,
        campaign,
        shop=shop,
        as_of=day,
        window_days=window_days,
        relevant_percent=relevant_percent,
        delivered=delivered(campaign),
    )


def delivered(campaign: Campaign) -> int | None:
    """Customers whose decision for the campaign reached a receiver, as settings.DELIVERY_COUNTER knows; None: nobody."""
    if not settings.DELIVERY_COUNTER:
        return None
    counter: Callable[[int], int | None] = import_string(settings.DELIVERY_COUNTER)
    return counter(campaign.pk)


def _prune(row: CampaignResult) -> None:
    """The newest are kept, so that one sees how the interval narrowed."""
    newest = (
        CampaignResult.objects.filter(campaign=row.campaign_id).order_by("-pk").values_list("pk", flat=True)
    )
    CampaignResult.objects.filter(pk__in=list(newest[KEPT : KEPT + 100])).delete()
