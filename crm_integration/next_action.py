"""What to do about a customer now: everything a service desk asks, in one answer and a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from crm_integration import payloads
from segmentation.dashboard import customer_page, words
from segmentation.decisions import DecisionExplanation, explain
from segmentation.decisions.codes import MAIN, Verdict
from segmentation.decisions.explaining import RuleExplanation
from segmentation.models import Customer, Decision, DueCustomer, LeaseState, ServicePriority, Shop
from segmentation.models.customers import PriorityLevel


def of(customer: Customer, *, now: datetime) -> dict[str, Any]:
    """The content of a delivered decision (docs/webhooks.md), why it is so, and how fresh it is."""
    shop = Shop.get()
    decided = Decision.objects.select_related("customer", "offer", "campaign", "policy", "snapshot")
    decision = decided.filter(customer=customer).order_by("-pk").first()
    priority = ServicePriority.objects.select_related("rule").filter(customer=customer).first()
    data = _undecided(customer, shop) if decision is None else payloads.describe(
        decision, priority, shop, now=now
    )  # fmt: skip
    return data | {
        "tier_name": str(words.tier(customer.tier)) if customer.tier else None,
        "why": _why(explain(decision) if decision is not None else None),
        "freshness": _freshness(customer, decision),
    }


def _undecided(customer: Customer, shop: Shop) -> dict[str, Any]:
    """What is known of a customer about whom nothing was decided yet."""
    level = PriorityLevel(customer.priority)
    return {
        "decision_id": None,
        "as_of": None,
        "customer": {"reference": customer.reference},
        "segments": [],
        "tier": customer.tier or None,
        "churn_probability": customer.churn_probability,
        "expected_value": payloads.money(customer.future_value_minor, shop),
        "offer": None,
        "campaign": None,
        "also": [],
        "service_priority": {
            "level": level.value,
            "name": level.name.lower(),
            "handling": None,
            "owner": None,
            "answer_by": None,
            "until": None,
        },
        "reasons": [],
    }


def _why(explanation: DecisionExplanation | None) -> dict[str, list[str]]:
    """The summary of each half of the decision, and what the rule that settled it found."""
    if explanation is None:
        return {"offer": [], "priority": []}
    offer, priority = explanation.summary
    return {
        "offer": [offer, *_found(explanation.offers, *MAIN)],
        "priority": [priority, *_found(explanation.priorities, Verdict.PRIORITY_SET)],
    }


def _found(rules: Iterable[RuleExplanation], *verdicts: Verdict) -> tuple[str, ...]:
    return next((rule.reasons for rule in rules if rule.verdict in verdicts), ())


def _freshness(customer: Customer, decision: Decision | None) -> dict[str, Any]:
    """is_current: nothing came in since the scores were made. is_waiting: a worker is about to look again."""
    open_states = [LeaseState.QUEUED, LeaseState.RUNNING]
    return {
        "decided_at": decision.decided_at if decision else None,
        "scored_as_of": customer.scored_as_of,
        "is_current": customer.scored_version == customer.input_version,
        "is_waiting": DueCustomer.objects.filter(customer=customer, state__in=open_states).exists(),
        "why_no_score": customer_page.abstained_because(customer) if customer.abstain_reason else None,
    }
