"""Why, and why not, for every candidate of a decision: rebuilt from its verdicts, its policy and its snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Any, Final

import numpy as np
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import holdouts, memberships
from segmentation.decisions import circumstances, levels, snapshots
from segmentation.decisions import policy as policies
from segmentation.decisions.codes import MAIN, Verdict
from segmentation.decisions.policy import Candidate, Policy, PriorityCandidate
from segmentation.decisions.terms import ReEntry
from segmentation.decisions.verdicts import DENIED, judge
from segmentation.frames import OVERRIDE
from segmentation.models import Decision
from segmentation.models.customers import PriorityLevel
from segmentation.rules.explain import ConditionVerdict, Explained
from segmentation.rules.explain import explain as explain_rule
from segmentation.rules.fields import class_word
from segmentation.rules.operators import Words


@dataclass(frozen=True)
class RuleExplanation:
    """One candidate. reasons: what the rule found, in sentences, segments opened up; rule: every condition."""

    rule_id: int
    title: str
    verdict: Verdict
    sentence: str
    reasons: tuple[str, ...]
    rule: Explained | None
    campaign_id: int | None = None


@dataclass(frozen=True)
class DecisionExplanation:
    """`summary` says what the customer gets and how soon they are served; candidates are in policy order."""

    decision_id: int
    as_of: date
    summary: tuple[str, ...]
    offers: tuple[RuleExplanation, ...]
    priorities: tuple[RuleExplanation, ...]


def explain(decision: Decision) -> DecisionExplanation:
    """The reasons of a decision as they were when it was made (the policy and snapshot rows are read)."""
    policy = policies.load(decision.policy.content)
    row = snapshots.read(decision.snapshot, decision.policy)
    codes = [Verdict(code) for code in bytes(decision.verdicts)]
    look = _Look(policy, row, decision.as_of - timedelta(days=1))
    count = len(policy.candidates)
    winner = next((c for c, code in zip(policy.candidates, codes[:count], strict=True) if code in MAIN), None)
    setter = next(
        (p for p, code in zip(policy.priorities, codes[count:], strict=True) if code is Verdict.PRIORITY_SET),
        None,
    )
    offers = explain_offers(policy, row, codes, today=decision.as_of - timedelta(days=1))
    priorities = [
        look.priority(candidate, code, setter)
        for candidate, code in zip(policy.priorities, codes[count:], strict=True)
    ]
    overridden = setter is None and decision.priority != PriorityLevel.NORMAL
    overridden |= Verdict.PRIORITY_OVERRIDDEN in codes[count:]
    summary = (
        _offer_summary(winner, codes[:count]),
        _priority_summary(decision.priority, setter, overridden=overridden and setter is None),
    )
    return DecisionExplanation(decision.pk, decision.as_of, summary, offers, tuple(priorities))


def explain_offers(
    policy: Policy, row: Mapping[str, Any], codes: Sequence[Verdict], *, today: date
) -> tuple[RuleExplanation, ...]:
    """Each candidate of the policy for a customer with these values, whatever these codes were judged for."""
    look, winner = _Look(policy, row, today), _winner(policy, codes)
    judged = zip(policy.candidates, codes[: len(policy.candidates)], strict=True)
    return tuple(look.offer(candidate, code, winner) for candidate, code in judged)


def _winner(policy: Policy, codes: Sequence[Verdict]) -> Candidate | None:
    judged = zip(policy.candidates, codes[: len(policy.candidates)], strict=True)
    return next((candidate for candidate, code in judged if code in MAIN), None)


def replay(decision: Decision) -> bytes:
    """The verdicts that the stored policy and snapshot lead to now; equal to the decision's own.

    What only the moment knew (caps, hours, budgets, triggers) is taken from the decision. The draw of a holdout is
    asked anew with the customer's key. The decision needs `customer`, `policy` and `snapshot`.
    """
    policy = policies.load(decision.policy.content)
    frame = snapshots.frame(decision.snapshot, decision.policy, policy)
    codes = np.frombuffer(bytes(decision.verdicts), np.uint8).reshape(1, -1)
    today = decision.as_of - timedelta(days=1)
    judged = judge(
        memberships.evaluate(frame, policy.definitions, today=today),
        policy,
        today=today,
        keys=[holdouts.key_of(decision.customer)],
        around=circumstances.of_decision(policy, codes, today=today, at=decision.decided_at),
        levels=levels.of_decision(policy, codes, decision.priority),
    )
    return judged.codes.tobytes()


class _Look:
    """One customer's values, looked at with a policy's eyes."""

    def __init__(self, policy: Policy, row: Mapping[str, Any], today: date) -> None:
        self._policy = policy
        self._row = row
        self._today = today
        self._nodes = {d.column: d.node for d in policy.definitions}
        self._predicting = {d.column for d in policy.definitions if d.predicts}

    def offer(self, candidate: Candidate, code: Verdict, winner: Candidate | None) -> RuleExplanation:
        explained = self._explained(candidate)
        words = {
            "offer": candidate.offer.name,
            "campaign": candidate.campaign.name,
            "winner": winner.campaign.name if winner else "",
            "days": candidate.campaign.re_entry_days,
            "times": candidate.offer.limit_per_customer,
            "group": candidate.campaign.exclusive_group,
        }
        if code is Verdict.NO_CONSENT and self._row.get("consent.marketing") == DENIED:
            template: Words = _("Fits, but the customer refused marketing.")
        elif code is Verdict.OUTRANKED and winner is not None and winner.campaign.id == candidate.campaign.id:
            template = _("Fits, but an earlier rule of the same campaign comes first.")
        elif code is Verdict.RE_ENTRY_WAIT and candidate.campaign.re_entry == ReEntry.NEVER:
            template = _("Fits, but had this campaign before, and it comes once.")
        elif code is Verdict.CAPPED:
            template = self._capped(candidate)
        elif code is Verdict.OUTSIDE_HOURS and (candidate.campaign.hours or candidate.campaign.quiet):
            template = self._outside(candidate)
        else:
            template = _OFFER_SENTENCES[code]
        title = _("%(campaign)s: %(rule)s") % {
            "campaign": candidate.campaign.name,
            "rule": candidate.name or candidate.offer.name,
        }
        reasons = self._reasons(explained, code)
        said = str(template) % words
        return RuleExplanation(
            candidate.rule_id, title, code, said, reasons, explained, candidate.campaign.id
        )

    def _capped(self, candidate: Candidate) -> str:
        """Names the caps that cover the campaign, the strictest first."""
        caps = [cap for cap in self._policy.caps if cap.covers(candidate.campaign)]
        if not caps:
            return str(_OFFER_SENTENCES[Verdict.CAPPED])
        strictest = min(caps, key=lambda cap: cap.most / cap.days)
        return _("Fits, but the customer had enough: “%(cap)s” allows %(most)s in %(days)s days.") % {
            "cap": strictest.name,
            "most": strictest.most,
            "days": strictest.days,
        }

    def _outside(self, candidate: Candidate) -> str:
        campaign = candidate.campaign
        said = []
        if campaign.hours is not None:
            said.append(_("the campaign is given from %(start)s to %(end)s") % _ends(campaign.hours))
        if campaign.quiet is not None:
            said.append(_("the shop contacts nobody from %(start)s to %(end)s") % _ends(campaign.quiet))
        return _("Fits, but it is not the time: %(hours)s where the customer lives.") % {
            "hours": _(" and ").join(said)
        }

    def priority(
        self, candidate: PriorityCandidate, code: Verdict, setter: PriorityCandidate | None
    ) -> RuleExplanation:
        explained = self._explained(candidate)
        words = {
            "level": PriorityLevel(candidate.level).label,
            "first": setter.name if setter else "",
        }
        sentence = str(_PRIORITY_SENTENCES[code]) % words
        reasons = self._reasons(explained, code)
        return RuleExplanation(candidate.rule_id, candidate.name, code, sentence, reasons, explained)

    def _explained(self, candidate: Candidate | PriorityCandidate) -> Explained | None:
        return None if candidate.node is None else explain_rule(candidate.node, self._row, today=self._today)

    def _reasons(self, explained: Explained | None, code: Verdict) -> tuple[str, ...]:
        """Predictions are not quoted for customers outside profiling: there are none."""
        if explained is None or code is Verdict.NOT_PROFILED:
            return ()
        return tuple(dict.fromkeys(self._opened(explained, depth=0)))

    def _opened(self, explained: Explained, *, depth: int) -> Iterator[str]:
        """Reasons, each segment followed by why the customer is in it or not."""
        for leaf in explained.settling():
            yield leaf.reason + self._set_by_staff(leaf)
            node = self._nodes.get(leaf.field)
            if node is not None and depth < _MAX_SEGMENTS_DEEP:
                if self._closed(leaf):
                    yield _("This segment uses predictions and the customer is not profiled")
                    continue
                yield from self._opened(explain_rule(node, self._row, today=self._today), depth=depth + 1)

    def _set_by_staff(self, leaf: ConditionVerdict) -> str:
        """What the model itself says, where staff set the class that the rule saw."""
        own = self._row.get(OVERRIDE + leaf.field.removeprefix("score.").removesuffix(".label"))
        if own is None or not leaf.field.endswith(".label"):
            return ""
        if not own:
            return " " + _("(set by staff; the model has no answer)")
        return " " + _("(set by staff; the model says “%(own)s”)") % {"own": class_word(own)}

    def _closed(self, leaf: ConditionVerdict) -> bool:
        return leaf.field in self._predicting and self._row.get("customer.is_profiled") is False


def _ends(span: tuple[time, time]) -> dict[str, str]:
    return {"start": f"{span[0]:%H:%M}", "end": f"{span[1]:%H:%M}"}


def _offer_summary(winner: Candidate | None, codes: Sequence[Verdict]) -> str:
    if winner is not None:
        return _("Gets “%(offer)s” from the campaign “%(campaign)s”.") % {
            "offer": winner.offer.name,
            "campaign": winner.campaign.name,
        }
    for code, sentence in _NO_OFFER.items():
        if code in codes:
            return str(sentence)
    return _("No offer: no campaign fits.")


def _priority_summary(level: int, setter: PriorityCandidate | None, *, overridden: bool) -> str:
    words = {"level": PriorityLevel(level).label, "rule": setter.name if setter else ""}
    if overridden:
        return _("Service priority %(level)s, set by a person.") % words
    if setter is None:
        return _("Service priority %(level)s: no rule fits.") % words
    return _("Service priority %(level)s by the rule “%(rule)s”.") % words


_MAX_SEGMENTS_DEEP: Final = 8
_OFFER_SENTENCES: Final[dict[Verdict, Words]] = {
    Verdict.RULE_FALSE: gettext_lazy("Does not fit."),
    Verdict.WON: gettext_lazy("Fits and comes first: gets “%(offer)s”."),
    Verdict.OUTRANKED: gettext_lazy("Fits, but the campaign “%(winner)s” comes first."),
    Verdict.NOT_PROFILED: gettext_lazy("Uses predictions, and the customer is not profiled."),
    Verdict.OFFER_INACTIVE: gettext_lazy("Fits, but the offer “%(offer)s” is switched off."),
    Verdict.NO_CONSENT: gettext_lazy("Fits, but the customer has not agreed to marketing."),
    Verdict.HELD_OUT_GLOBAL: gettext_lazy(
        "Fits, but the customer is in the global holdout and gets no offers."
    ),
    Verdict.HELD_OUT_CAMPAIGN: gettext_lazy("Fits, but the customer is in this campaign's holdout."),
    Verdict.RE_ENTRY_WAIT: gettext_lazy(
        "Fits, but had this campaign before; it may come again %(days)s days after that."
    ),
    Verdict.UNREADABLE: gettext_lazy("The rule could not be read, so nobody fits it."),
    Verdict.CAPPED: gettext_lazy("Fits, but the customer had enough offers lately."),
    Verdict.OUTSIDE_HOURS: gettext_lazy(
        "Fits, but it is not a day or an hour for it where the customer lives."
    ),
    Verdict.BUDGET_GONE: gettext_lazy("Fits, but the budget of the campaign is used up."),
    Verdict.OFFER_GONE: gettext_lazy("Fits, but the offer “%(offer)s” was given as often as it may be."),
    Verdict.CUSTOMER_LIMIT: gettext_lazy(
        "Fits, but had “%(offer)s” already; a customer gets it %(times)s times."
    ),
    Verdict.NO_CODE: gettext_lazy("Fits, but no code of “%(offer)s” is left."),
    Verdict.OFFER_NOT_NOW: gettext_lazy("Fits, but the offer “%(offer)s” is not given on this day."),
    Verdict.NOT_TRIGGERED: gettext_lazy(
        "Fits, but nothing has started the campaign for this customer lately."
    ),
    Verdict.EXCLUDED: gettext_lazy("Fits, but another campaign of the group “%(group)s” comes first."),
    Verdict.SUPPRESSED: gettext_lazy("Fits, but the customer is on the list of those who get nothing."),
    Verdict.BESIDE: gettext_lazy("Fits and comes beside: gets “%(offer)s” too."),
    Verdict.NOT_CHOSEN: gettext_lazy("Fits, but another rule of the same campaign was chosen."),
    Verdict.BELOW_FLOOR: gettext_lazy("Fits, but the budget does more with other customers."),
    Verdict.KEPT: gettext_lazy("No longer fits, and keeps “%(offer)s” until it runs out."),
    Verdict.NOT_WORTH: gettext_lazy("Fits, but the offer would cost more than it is expected to bring."),
}
_PRIORITY_SENTENCES: Final[dict[Verdict, Words]] = {
    Verdict.RULE_FALSE: gettext_lazy("Does not fit."),
    Verdict.NOT_PROFILED: _OFFER_SENTENCES[Verdict.NOT_PROFILED],
    Verdict.UNREADABLE: _OFFER_SENTENCES[Verdict.UNREADABLE],
    Verdict.PRIORITY_SET: gettext_lazy("Fits and comes first: sets the priority to %(level)s."),
    Verdict.PRIORITY_AFTER: gettext_lazy("Fits, but the rule “%(first)s” comes first."),
    Verdict.HELD_OUT_GLOBAL: gettext_lazy(
        "Fits, but the customer is in the global holdout and is served as usual."
    ),
    Verdict.PRIORITY_NEEDS_APPROVAL: gettext_lazy(
        "Fits and uses predictions: serving the customer later waits for a person's approval."
    ),
    Verdict.PRIORITY_RAISED: gettext_lazy("Fits, but the promise “%(first)s” is higher."),
    Verdict.PRIORITY_EXPIRED: gettext_lazy("Fits, but its time is over for this customer."),
    Verdict.PRIORITY_OVERRIDDEN: gettext_lazy("Fits, but a person has set the priority by hand."),
}
# The most telling reason first, when nothing was won.
_NO_OFFER: Final[dict[Verdict, Words]] = {
    Verdict.HELD_OUT_GLOBAL: gettext_lazy("No offer: the customer is in the global holdout."),
    Verdict.HELD_OUT_CAMPAIGN: gettext_lazy("No offer: the customer is in a campaign's holdout."),
    Verdict.SUPPRESSED: gettext_lazy("No offer: the customer is on the list of those who get nothing."),
    Verdict.NO_CONSENT: gettext_lazy("No offer: there is no consent to marketing."),
    Verdict.CAPPED: gettext_lazy("No offer: the customer had enough lately."),
    Verdict.OUTSIDE_HOURS: gettext_lazy("No offer now: it is not the hour for it where the customer lives."),
    Verdict.BUDGET_GONE: gettext_lazy("No offer: the budget is used up."),
    Verdict.OFFER_GONE: gettext_lazy("No offer: it was given as often as it may be."),
    Verdict.NO_CODE: gettext_lazy("No offer: no code is left."),
    Verdict.CUSTOMER_LIMIT: gettext_lazy("No offer: the customer had it already."),
    Verdict.BELOW_FLOOR: gettext_lazy("No offer: the budget does more with other customers."),
    Verdict.NOT_WORTH: gettext_lazy("No offer: it would cost more than it is expected to bring."),
    Verdict.NOT_TRIGGERED: gettext_lazy("No offer: nothing has started a campaign for this customer lately."),
    Verdict.OFFER_NOT_NOW: gettext_lazy("No offer: the fitting one is not given on this day."),
    Verdict.RE_ENTRY_WAIT: gettext_lazy("No offer: the last one was too recent."),
    Verdict.OFFER_INACTIVE: gettext_lazy("No offer: the fitting one is switched off."),
}
