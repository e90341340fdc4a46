"""Why, and why not, for every candidate of a decision: rebuilt from its verdicts, its policy and its snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation.decisions import policy as policies
from segmentation.decisions import snapshots
from segmentation.decisions.policy import Candidate, Policy, PriorityCandidate
from segmentation.decisions.verdicts import DENIED, Verdict
from segmentation.models import Decision
from segmentation.models.customers import PriorityLevel
from segmentation.rules.explain import ConditionVerdict, Explained
from segmentation.rules.explain import explain as explain_rule
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
    winner = next(
        (c for c, code in zip(policy.candidates, codes[:count], strict=True) if code is Verdict.WON), None
    )
    setter = next(
        (p for p, code in zip(policy.priorities, codes[count:], strict=True) if code is Verdict.PRIORITY_SET),
        None,
    )
    offers = [
        look.offer(candidate, code, winner)
        for candidate, code in zip(policy.candidates, codes[:count], strict=True)
    ]
    priorities = [
        look.priority(candidate, code, setter)
        for candidate, code in zip(policy.priorities, codes[count:], strict=True)
    ]
    summary = (_offer_summary(winner, codes[:count]), _priority_summary(decision.priority, setter))
    return DecisionExplanation(decision.pk, decision.as_of, summary, tuple(offers), tuple(priorities))


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
        }
        if code is Verdict.NO_CONSENT and self._row.get("consent.marketing") == DENIED:
            template: Words = _("Fits, but the customer refused marketing.")
        elif code is Verdict.OUTRANKED and winner is not None and winner.campaign.id == candidate.campaign.id:
            template = _("Fits, but an earlier rule of the same campaign comes first.")
        else:
            template = _OFFER_SENTENCES[code]
        title = _("%(campaign)s: %(rule)s") % {
            "campaign": candidate.campaign.name,
            "rule": candidate.name or candidate.offer.name,
        }
        reasons = self._reasons(explained, code)
        return RuleExplanation(candidate.rule_id, title, code, str(template) % words, reasons, explained)

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
            yield leaf.reason
            node = self._nodes.get(leaf.field)
            if node is not None and depth < _MAX_SEGMENTS_DEEP:
                if self._closed(leaf):
                    yield _("This segment uses predictions and the customer is not profiled")
                    continue
                yield from self._opened(explain_rule(node, self._row, today=self._today), depth=depth + 1)

    def _closed(self, leaf: ConditionVerdict) -> bool:
        return leaf.field in self._predicting and self._row.get("customer.is_profiled") is False


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


def _priority_summary(level: int, setter: PriorityCandidate | None) -> str:
    words = {"level": PriorityLevel(level).label, "rule": setter.name if setter else ""}
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
}
_PRIORITY_SENTENCES: Final[dict[Verdict, Words]] = {
    Verdict.RULE_FALSE: gettext_lazy("Does not fit."),
    Verdict.NOT_PROFILED: _OFFER_SENTENCES[Verdict.NOT_PROFILED],
    Verdict.UNREADABLE: _OFFER_SENTENCES[Verdict.UNREADABLE],
    Verdict.PRIORITY_SET: gettext_lazy("Fits and comes first: sets the priority to %(level)s."),
    Verdict.PRIORITY_AFTER: gettext_lazy("Fits, but the rule “%(first)s” comes first."),
}
# The most telling reason first, when nothing was won.
_NO_OFFER: Final[dict[Verdict, Words]] = {
    Verdict.HELD_OUT_GLOBAL: gettext_lazy("No offer: the customer is in the global holdout."),
    Verdict.HELD_OUT_CAMPAIGN: gettext_lazy("No offer: the customer is in a campaign's holdout."),
    Verdict.NO_CONSENT: gettext_lazy("No offer: there is no consent to marketing."),
    Verdict.RE_ENTRY_WAIT: gettext_lazy("No offer: the last one was too recent."),
    Verdict.OFFER_INACTIVE: gettext_lazy("No offer: the fitting one is switched off."),
}
