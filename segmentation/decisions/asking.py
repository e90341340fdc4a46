"""“Why did this customer not get that campaign?”: from the last decision, or judged now where it says nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import campaigns, holdouts, memberships, rule_columns, stored_frames
from segmentation.decisions import circumstances, re_entry
from segmentation.decisions import policy as policies
from segmentation.decisions.codes import GIVEN, Verdict
from segmentation.decisions.explaining import RuleExplanation, explain, explain_offers
from segmentation.decisions.limits import Allowance
from segmentation.decisions.verdicts import judge
from segmentation.models import Campaign, Customer, Decision, Shop


@dataclass(frozen=True)
class CampaignAnswer:
    """`decided_at` None: the last decision knows nothing of the campaign, so it was judged as it would be now."""

    campaign: Campaign
    gets: bool
    sentence: str
    decided_at: datetime | None
    rules: tuple[RuleExplanation, ...]


def why(customer: Customer, campaign: Campaign) -> CampaignAnswer:
    """Every rule of the campaign for this customer, with what it found. customer: the survivor of merges."""
    decided = Decision.objects.select_related("policy", "snapshot").filter(customer=customer)
    decision = decided.order_by("-pk").first()
    if decision is not None:
        rules = tuple(rule for rule in explain(decision).offers if rule.campaign_id == campaign.pk)
        if rules:
            return _answer(campaign, rules, decision.decided_at)
    return _now(customer, campaign)


def _now(customer: Customer, campaign: Campaign) -> CampaignAnswer:
    """As if it ran beside those that do, from the stored features and scores; nothing is written or taken."""
    shop = Shop.get()
    today = shop.today()
    running = [other for other in campaigns.in_effect(today) if other.pk != campaign.pk]
    policy = policies.build([*running, campaign], [])
    frame = stored_frames.read([customer.pk], wanted=rule_columns.of_policy(policy))
    if frame.is_empty():
        return CampaignAnswer(campaign, False, _("The customer was not classified yet."), None, ())
    frame = memberships.evaluate(frame, policy.definitions, today=today)
    around = circumstances.read(
        [customer.pk], policy, shop=shop, today=today, now=timezone.now(), cause=Decision.Cause.BATCH
    )
    allowance = Allowance(policy, is_dry=True)
    keys = [holdouts.key_of(customer)]
    as_of = today + timedelta(days=1)
    had = re_entry.entries([customer.pk], policy.candidates)
    judged = judge(
        frame,
        policy,
        today=today,
        keys=keys,
        waiting=re_entry.waiting([customer.pk], policy.candidates, had, as_of=as_of),
        around=around,
        allowance=allowance,
    )
    codes = [Verdict(code) for code in judged.codes[0]]
    row = {name: value for name, value in frame.row(0, named=True).items() if value is not None}
    found = explain_offers(policy, row, codes, today=today)
    return _answer(campaign, tuple(rule for rule in found if rule.campaign_id == campaign.pk), None)


def _answer(
    campaign: Campaign, rules: tuple[RuleExplanation, ...], decided_at: datetime | None
) -> CampaignAnswer:
    gets = any(rule.verdict in GIVEN for rule in rules)
    if not rules:
        return CampaignAnswer(campaign, False, _("The campaign has no rules."), decided_at, rules)
    if decided_at is not None:
        sentence = _("Gets it.") if gets else _("Does not get it.")
    else:
        sentence = _("Would get it now.") if gets else _("Would not get it now.")
        if campaign.status not in {Campaign.Status.RUNNING, Campaign.Status.SCHEDULED}:
            sentence += " " + _("The campaign is not running, so nobody does.")
    return CampaignAnswer(campaign, gets, sentence, decided_at, rules)
