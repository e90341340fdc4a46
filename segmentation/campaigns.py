"""Campaigns from draft to end: which moves are allowed, what must be right before one starts, which ones run today."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import holdouts, uplift_fields
from segmentation.models import AuditEntry, Campaign, CampaignRule, Shop
from segmentation.rules import fields as rule_fields
from segmentation.rules import language
from segmentation.rules.language import Node, RuleError
from segmentation.rules.operators import FieldType

Status = Campaign.Status
MOVES: Final[dict[str, tuple[str, ...]]] = {
    Status.DRAFT: (Status.SCHEDULED, Status.RUNNING),
    Status.SCHEDULED: (Status.DRAFT, Status.RUNNING, Status.ENDED),
    Status.RUNNING: (Status.PAUSED, Status.ENDED),
    Status.PAUSED: (Status.RUNNING, Status.ENDED),
    Status.ENDED: (),
}


class MoveRefused(Exception):
    """The campaign cannot go there; the message says why and what to do."""


def in_effect(today: date) -> QuerySet[Campaign]:
    """Campaigns that give offers on this day. A scheduled one starts on its day even if nothing has moved it yet."""
    started = Q(starts_on__isnull=True) | Q(starts_on__lte=today)
    open_ = Q(ends_on__isnull=True) | Q(ends_on__gte=today)
    running = Q(status=Status.RUNNING) & started
    due = Q(status=Status.SCHEDULED, starts_on__lte=today)
    return Campaign.objects.filter(open_ & (running | due)).order_by("-priority", "pk")


def allowed_moves(campaign: Campaign) -> tuple[str, ...]:
    return MOVES[campaign.status]


def move(campaign: Campaign, to: str, *, by: Any = None, today: date | None = None) -> Campaign:
    """Change the status. Starting and scheduling check the campaign first. Raises MoveRefused, ValidationError."""
    day = today or Shop.get().today()
    with transaction.atomic():
        campaign = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if to not in MOVES[campaign.status]:
            raise MoveRefused(
                _("A campaign that is “%(now)s” cannot become “%(to)s”.")
                % {"now": campaign.get_status_display(), "to": Status(to).label}
            )
        if to in (Status.SCHEDULED, Status.RUNNING):
            validate(campaign)
            _check_dates(campaign, to, day)
            _check_approval(campaign)
            holdouts.set_for(campaign, by=by)
            sync_limits(campaign)
        before = campaign.status
        campaign.status = to
        campaign.save(update_fields=["status"])
        AuditEntry.record("campaign.moved", campaign, actor=by, before=str(before), after=str(to))
    if to == Status.RUNNING and campaign.choice == Campaign.Choice.VALUE:
        from segmentation import choices

        choices.refresh(campaign)
    return campaign


def approval_missing(campaign: Campaign) -> bool:
    """Whether the budget is so large, or so unlimited, that a second person has to agree first."""
    above = Shop.get().approval_above_minor
    if above is None or campaign.approved_at is not None:
        return False
    return campaign.budget_minor is None or campaign.budget_minor > above


def approve(campaign: Campaign, *, by: Any, seen: int | None = None) -> Campaign:
    """A second person agrees to the campaign as it is. Raises MoveRefused for whoever edited it last.

    seen: the `edit_version` that the person looked at; an edit since then is refused, nobody has agreed to that.
    """
    with transaction.atomic():
        campaign = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if seen is not None and campaign.edit_version != seen:
            raise MoveRefused(_("The campaign was changed meanwhile. Look at what changed, then approve it."))
        if campaign.edited_by_id == by.pk:
            raise MoveRefused(_("You edited this campaign last, so somebody else has to approve it."))
        campaign.approved_by, campaign.approved_at = by, timezone.now()
        campaign.save(update_fields=["approved_by", "approved_at"])
        AuditEntry.record("campaign.approved", campaign, actor=by, budget=campaign.budget_minor)
    return campaign


def edited(campaign: Campaign, *, by: Any = None) -> None:
    """After an edit: holdout and limits follow, an approval counts no longer, and the next editor sees it.

    Raises ValidationError where a running campaign would need an approval that it does not have, or where more is
    used than a new limit allows. Needs a transaction.
    """
    campaign.edited_by = by if getattr(by, "is_authenticated", False) else None
    campaign.approved_by = campaign.approved_at = None
    Campaign.objects.filter(pk=campaign.pk).update(
        edited_by=campaign.edited_by,
        approved_by=None,
        approved_at=None,
        edit_version=F("edit_version") + 1,
        floor_ratio=None,
    )
    if campaign.status in (Status.SCHEDULED, Status.RUNNING) and approval_missing(campaign):
        raise ValidationError(
            _(
                "A budget as large as this needs a second person's approval: pause the campaign, then change it."
            )
        )
    sync_holdout(campaign, by=by)
    sync_limits(campaign)


def sync_limits(campaign: Campaign) -> None:
    """Rows that count what is used of the campaign's budget and of its offers' limits. Raises ValidationError."""
    from segmentation.decisions import limits

    offers = {rule.offer for rule in campaign.rules.select_related("offer")}
    with transaction.atomic():
        limits.hold([campaign], offers)
        limits.follow(campaign)
        for offer in sorted(offers, key=lambda offer: offer.pk):
            limits.follow(offer)


def advance(today: date) -> int:
    """Start what is due and end what is over; returns how many campaigns moved. A sweep calls it."""
    moved = 0
    for campaign in Campaign.objects.filter(status=Status.SCHEDULED, starts_on__lte=today):
        moved += _try(campaign, Status.RUNNING, today)
    over = Campaign.objects.filter(
        status__in=(Status.RUNNING, Status.PAUSED, Status.SCHEDULED), ends_on__lt=today
    )
    for campaign in over:
        moved += _try(campaign, Status.ENDED, today)
    return moved


def validate(campaign: Campaign) -> None:
    """Whether the campaign could run. Raises ValidationError with a sentence for each thing that is wrong."""
    rules = list(campaign.rules.select_related("segment", "offer"))
    problems = []
    if not rules:
        problems.append(_("Add at least one rule that says who gets which offer."))
    known = rule_fields.registry()
    for rule in rules:
        problems += _rule_problems(rule, known)
    if campaign.re_entry == Campaign.ReEntry.DAYS:
        problems += _waiting_problems(rules, campaign.re_entry_days or 0)
    problems += _trigger_problems(campaign)
    problems += _window_problems(campaign)
    problems += [problem for rule in rules for problem in _choice_problems(campaign, rule, known)]
    if campaign.starts_on and campaign.ends_on and campaign.ends_on < campaign.starts_on:
        problems.append(_("The last day is before the first day."))
    if problems:
        raise ValidationError(problems)


def check_condition(condition: object) -> Node | None:
    """A rule's further condition as a tree; None for none. Raises RuleError."""
    return None if condition is None else language.parse(condition)


def sync_holdout(campaign: Campaign, *, by: Any = None) -> None:
    """After an edit: a changed percentage is a new draw. A draft draws when it starts."""
    if campaign.status not in (Status.DRAFT, Status.ENDED):
        holdouts.set_for(campaign, by=by)


def _rule_problems(rule: CampaignRule, known: Any) -> list[str]:
    problems = []
    if rule.segment is None and rule.condition is None:
        problems.append(_("Rule %(rule)s: choose a segment or give a condition.") % {"rule": rule})
    if rule.segment is not None and (not rule.segment.is_active or rule.segment.version_id is None):
        problems.append(
            _("Rule %(rule)s: segment “%(segment)s” is switched off or has no rule yet.")
            % {"rule": rule, "segment": rule.segment.name}
        )
    if not rule.offer.is_active:
        problems.append(
            _("Rule %(rule)s: offer “%(offer)s” is switched off.") % {"rule": rule, "offer": rule.offer.name}
        )
    if rule.condition is not None:
        try:
            language.parse(rule.condition, fields=known)
        except RuleError as error:
            problems.append(_("Rule %(rule)s: %(error)s") % {"rule": rule, "error": error})
    return problems


def _window_problems(campaign: Campaign) -> list[str]:
    """A campaign whose hours lie within the shop's quiet ones would never give anything."""
    from segmentation.decisions import hours, terms

    contact = terms.of_contact(Shop.get())
    if not contact or hours.is_ever_open(terms.read_campaign(terms.of_campaign(campaign), None, contact)):
        return []
    return [_("Its days and hours lie wholly within those in which the shop contacts nobody.")]


def _trigger_problems(campaign: Campaign) -> list[str]:
    trigger = Campaign.Trigger(campaign.trigger)
    entered_or_left = (Campaign.Trigger.SEGMENT_ENTRY, Campaign.Trigger.SEGMENT_EXIT)
    if trigger in entered_or_left and campaign.trigger_segment_id is None:
        return [_("Choose the segment that customers enter or leave.")]
    if trigger == Campaign.Trigger.EVENT and campaign.trigger_event is None:
        return [_("Choose what the customer does to start the campaign.")]
    days = campaign.schedule_weekdays or campaign.schedule_month_day
    if trigger == Campaign.Trigger.SCHEDULE and not days:
        return [_("Choose the days on which the campaign is given.")]
    if campaign.re_entry == Campaign.ReEntry.EVENT and trigger == Campaign.Trigger.ALWAYS:
        return [_("Nothing triggers this campaign, so it cannot come again each time it is triggered.")]
    if campaign.hours_from is not None and campaign.hours_from == campaign.hours_to:
        return [_("The hours begin and end at the same time; leave both empty for the whole day.")]
    return []


def _choice_problems(campaign: Campaign, rule: CampaignRule, known: Any) -> list[str]:
    problems = []
    if rule.uplift_field and rule.uplift_field not in known:
        problems.append(
            _("Rule %(rule)s: there is no field “%(field)s”.") % {"rule": rule, "field": rule.uplift_field}
        )
    elif rule.uplift_field and known[rule.uplift_field].type != FieldType.NUMBER:
        problems.append(
            _("Rule %(rule)s: “%(field)s” is not a number.") % {"rule": rule, "field": rule.uplift_field}
        )
    if campaign.choice != Campaign.Choice.VALUE:
        return problems
    # A serving uplift model of the campaign or of the offer says it for each customer.
    is_said = rule.uplift is not None or uplift_fields.of_rule(rule, uplift_fields.known())
    if not is_said or not rule.margin_minor:
        problems.append(
            _("Rule %(rule)s: say its uplift and margin, so that gains can be compared.") % {"rule": rule}
        )
    return problems


def _waiting_problems(rules: list[CampaignRule], days: int) -> list[str]:
    """An offer must not outlive the wait for the next one."""
    return [
        _(
            "Offer “%(offer)s” is valid for %(valid)d days, longer than the %(days)d days until it may come again."
        )
        % {"offer": rule.offer.name, "valid": rule.offer.valid_days, "days": days}
        for rule in rules
        if rule.offer.valid_days > days
    ]


def _check_approval(campaign: Campaign) -> None:
    if approval_missing(campaign):
        raise ValidationError(
            _(
                "The budget is above what one person may decide; a second person has to approve the campaign first."
            )
        )


def _check_dates(campaign: Campaign, to: str, today: date) -> None:
    if campaign.ends_on is not None and campaign.ends_on < today:
        raise ValidationError(_("The last day of the campaign is over; set a later one."))
    if to == Status.SCHEDULED and campaign.starts_on is None:
        raise ValidationError(_("Set the first day, or start the campaign now."))
    if to == Status.RUNNING and campaign.starts_on is not None and campaign.starts_on > today:
        raise ValidationError(_("The first day is in the future; schedule the campaign instead."))


def _try(campaign: Campaign, to: str, today: date) -> int:
    try:
        move(campaign, to, today=today)
    except (MoveRefused, ValidationError):
        # It stays where it is, visible with its dates; staff see the reason when they move it.
        return 0
    return 1
