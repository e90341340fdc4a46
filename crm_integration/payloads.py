"""What receivers are told (the format is documented in docs/webhooks.md). No contact data leaves in a decision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.utils.translation import gettext as _

from segmentation.dashboard import words
from segmentation.models import Decision, Membership, Offer, ServicePriority, Shop
from segmentation.models.customers import Customer, PriorityLevel

DECISION_TOPIC = "decision.made"
TEST_TOPIC = "ping"


@dataclass(frozen=True)
class DecisionMessage:
    """`version` grows with each decision about a customer, so a receiver can drop what is older than what it has."""

    message_id: str
    customer_id: int
    version: int
    body: bytes


def test_body(now: datetime) -> bytes:
    return _body(TEST_TOPIC, now, {"message": "A test from Tierwise."})


Visible = tuple[Any, ...]


def visible(body: bytes) -> Visible:
    """What a receiver acts on in a decision's body: a message that differs in nothing of it is not worth sending.

    Scores and reasons move with every event, and the last day of an offer with every decision: they are told along.
    """
    data = orjson.loads(body)["data"]
    offer = data["offer"] and {name: value for name, value in data["offer"].items() if name != "valid_until"}
    return (data["segments"], data["tier"], offer, data["campaign"], data["service_priority"])


def decisions(decision_ids: Sequence[int]) -> list[DecisionMessage]:
    """The messages of decisions, in order of id; three queries for all of them."""
    rows = list(
        Decision.objects.filter(pk__in=decision_ids)
        .select_related("customer", "offer", "campaign")
        .order_by("pk")
    )
    customers = [row.customer_id for row in rows]
    segments = _segments(customers)
    priorities = {
        row.customer_id: row
        for row in ServicePriority.objects.filter(customer__in=customers).select_related("rule")
    }
    shop = Shop.get()
    return [
        DecisionMessage(
            message_id=f"decision_{row.pk}",
            customer_id=row.customer_id,
            version=row.pk,
            body=_body(
                DECISION_TOPIC,
                row.decided_at,
                _decision(row, segments[row.customer_id], priorities.get(row.customer_id), shop),
            ),
        )
        for row in rows
    ]


def _body(topic: str, at: datetime, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": topic, "timestamp": at.astimezone(UTC).isoformat(), "data": data})


def _segments(customer_ids: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
    """(slug, name) of each customer's segments."""
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    rows = Membership.objects.filter(customer__in=customer_ids, segment__is_active=True)
    for customer, slug, name in rows.order_by("segment__slug").values_list(
        "customer_id", "segment__slug", "segment__name"
    ):
        found[customer].append((slug, name))
    return found


def _decision(
    decision: Decision, segments: list[tuple[str, str]], priority: ServicePriority | None, shop: Shop
) -> dict[str, Any]:
    customer = decision.customer
    return {
        "decision_id": decision.pk,
        "version": decision.pk,
        "as_of": decision.as_of.isoformat(),
        "customer": {"reference": customer.reference},
        "segments": [slug for slug, _name in segments],
        "tier": customer.tier or None,
        "churn_probability": customer.churn_probability,
        "expected_value": _money(customer.future_value_minor, shop),
        "offer": _offer(decision, shop),
        "campaign": {"slug": decision.campaign.slug, "name": decision.campaign.name}
        if decision.campaign
        else None,
        "service_priority": _priority(decision, priority),
        "reasons": _reasons(decision, customer, segments, priority),
    }


def _money(minor: int | None, shop: Shop) -> dict[str, str] | None:
    if minor is None:
        return None
    amount = Decimal(minor) / shop.minor_per_major
    digits = len(str(shop.minor_per_major)) - 1
    return {"amount": f"{amount:.{digits}f}", "currency": shop.base_currency}


def _offer(decision: Decision, shop: Shop) -> dict[str, Any] | None:
    offer = decision.offer
    if offer is None:
        return None
    until = decision.decided_at.astimezone(shop.zone).date() + timedelta(days=offer.valid_days)
    return {
        "slug": offer.slug,
        "name": offer.name,
        "kind": offer.kind,
        "text": _offer_text(offer, shop),
        "percentage": f"{offer.percentage.normalize():f}" if offer.percentage is not None else None,
        "value": _money(offer.value_minor, shop),
        "code": offer.code or None,
        "valid_until": until.isoformat(),
    }


def _offer_text(offer: Offer, shop: Shop) -> str:
    """The text with its values filled in; {products} is left to the receiver, who knows the shelf."""
    value = _money(offer.value_minor, shop)
    filled = {
        "{percentage}": f"{offer.percentage.normalize():f}" if offer.percentage is not None else "",
        "{amount}": f"{value['amount']} {value['currency']}" if value else "",
        "{code}": offer.code,
    }
    text = offer.text
    for placeholder, content in filled.items():
        text = text.replace(placeholder, content)
    return text


def _priority(decision: Decision, current: ServicePriority | None) -> dict[str, Any]:
    rule = current.rule if current is not None and current.level == decision.priority else None
    return {
        "level": decision.priority,
        "name": PriorityLevel(decision.priority).name.lower(),
        "handling": (rule.handling or None) if rule else None,
    }


def _reasons(
    decision: Decision, customer: Customer, segments: list[tuple[str, str]], priority: ServicePriority | None
) -> list[str]:
    """A few plain sentences; the full explanation of every condition is on the customer's page."""
    reasons = []
    if customer.churn_probability is not None:
        reasons.append(_("Outlook: %(risk)s.") % {"risk": words.risk(customer.churn_probability)})
    if segments:
        reasons.append(
            _("In the segments: %(names)s.") % {"names": ", ".join(name for _slug, name in segments[:5])}
        )
    if decision.campaign and decision.offer:
        reasons.append(
            _("The campaign “%(campaign)s” gives “%(offer)s”.")
            % {"campaign": decision.campaign.name, "offer": decision.offer.name}
        )
    if priority is not None and priority.rule is not None and priority.level == decision.priority:
        reasons.append(_("Service priority by the rule “%(rule)s”.") % {"rule": priority.rule.name})
    return reasons
