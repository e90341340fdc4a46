"""Campaigns from draft to end: which moves are allowed, what must be right before one starts, which ones run today."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from segmentation import holdouts
from segmentation.models import AuditEntry, Campaign, CampaignRule, Shop
from segmentation.rules import fields as rule_fields
from segmentation.rules import language
from segmentation.rules.language import Node, RuleError

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
            holdouts.set_for(campaign, by=by)
        before = campaign.status
        campaign.status = to
        campaign.save(update_fields=["status"])
        AuditEntry.record("campaign.moved", campaign, actor=by, before=str(before), after=str(to))
    return campaign


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
    if campaign.re_entry_days is not None:
        problems += _waiting_problems(rules, campaign.re_entry_days)
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
