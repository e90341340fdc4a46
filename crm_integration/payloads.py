"""What receivers are told (the format is documented in docs/webhooks.md). No contact data leaves in a decision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.db.models import Max
from django.utils.translation import gettext as _

from segmentation.dashboard import words
from segmentation.decisions import standing
from segmentation.models import Decision, Membership, Offer, ServicePriority, Shop
from segmentation.models.customers import Customer, PriorityLevel
from segmentation.news import News

DECISION_TOPIC = "decision.made"
# The same content: another tier or other segments, while the decision stands.
CLASSIFIED_TOPIC = "customer.classified"
CUSTOMER_TOPICS = (DECISION_TOPIC, CLASSIFIED_TOPIC)
TEST_TOPIC = "ping"


@dataclass(frozen=True)
class CustomerMessage:
    """`version` grows with each message about a customer, so a receiver can drop what is older than what it has."""

    message_id: str
    topic: str
    customer_id: int
    version: int
    body: bytes


def test_body(now: datetime) -> bytes:
    return _body(TEST_TOPIC, now, {"message": "A test from Tierwise."})


Visible = tuple[Any, ...]


def visible(body: bytes) -> Visible:
    """What a receiver acts on in a message about a customer: one that differs in nothing of it is not worth sending.

    Scores and reasons move with every event, and the last day of an offer when it is given anew: they are told along.
    """
    data = orjson.loads(body)["data"]
    offer = data["offer"] and {name: value for name, value in data["offer"].items() if name != "valid_until"}
    return (data["segments"], data["tier"], offer, data["campaign"], data["service_priority"])


def about(news: Sequence[News], *, told: Mapping[int, int], now: datetime) -> list[CustomerMessage]:
    """What is true of these customers now, in a handful of queries; nothing of one without a decision.

    told: customer id → the version of the last message about them.
    """
    announced = {one.customer_id: one.decision_id for one in news}
    rows = _decisions(announced)
    customers = [row.customer_id for row in rows]
    segments = _segments(customers)
    priorities = {
        row.customer_id: row
        for row in ServicePriority.objects.filter(customer__in=customers).select_related("rule")
    }
    given = standing.given_at([row.customer_id for row in rows if row.offer_id is not None])
    shop = Shop.get()
    messages = []
    for row in rows:
        key = row.customer_id
        is_new = announced[key] is not None
        version = _version(now, told.get(key, 0))
        topic = DECISION_TOPIC if is_new else CLASSIFIED_TOPIC
        offer = _offer(row.offer, shop, given=given.get(key, row.decided_at), now=now)
        data = _decision(row, version, offer, segments[key], priorities.get(key), shop)
        messages.append(
            CustomerMessage(
                message_id=f"decision_{row.pk}" if is_new else f"customer_{key}_{version}",
                topic=topic,
                customer_id=key,
                version=version,
                body=_body(topic, row.decided_at if is_new else now, data),
            )
        )
    return messages


def describe(
    decision: Decision, priority: ServicePriority | None, shop: Shop, *, now: datetime
) -> dict[str, Any]:
    """The `data` of a message about the decision's customer, without its version: true now, in two queries.

    decision: with its customer, offer and campaign. priority: the customer's, with its rule.
    """
    key = decision.customer_id
    given = standing.given_at([key]) if decision.offer_id is not None else {}
    offer = _offer(decision.offer, shop, given=given.get(key, decision.decided_at), now=now)
    data = _decision(decision, 0, offer, _segments([key])[key], priority, shop)
    del data["version"]
    return data


def _decisions(announced: Mapping[int, int | None]) -> list[Decision]:
    """The decisions that are announced, and the newest of customers without one, in order of id."""
    standing_for = [customer for customer, decision in announced.items() if decision is None]
    keys = [decision for decision in announced.values() if decision is not None]
    if standing_for:
        newest = Decision.objects.filter(customer__in=standing_for).order_by().values("customer")
        keys += newest.annotate(newest=Max("pk")).values_list("newest", flat=True)
    return list(
        Decision.objects.filter(pk__in=keys).select_related("customer", "offer", "campaign").order_by("pk")
    )


def _version(now: datetime, told: int) -> int:
    """Microseconds since 1970, and more than the last one even where a clock went back."""
    return max(int(now.timestamp() * 1_000_000), told + 1)


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
    decision: Decision,
    version: int,
    offer: dict[str, Any] | None,
    segments: list[tuple[str, str]],
    priority: ServicePriority | None,
    shop: Shop,
) -> dict[str, Any]:
    customer = decision.customer
    return {
        "decision_id": decision.pk,
        "version": version,
        "as_of": decision.as_of.isoformat(),
        "customer": {"reference": customer.reference},
        "segments": [slug for slug, _name in segments],
        "tier": customer.tier or None,
        "churn_probability": customer.churn_probability,
        "expected_value": money(customer.future_value_minor, shop),
        "offer": offer,
        "campaign": {"slug": decision.campaign.slug, "name": decision.campaign.name}
        if decision.campaign
        else None,
        "service_priority": _priority(decision, priority),
        "reasons": _reasons(decision, customer, segments, priority),
    }


def money(minor: int | None, shop: Shop) -> dict[str, str] | None:
    if minor is None:
        return None
    amount = Decimal(minor) / shop.minor_per_major
    digits = len(str(shop.minor_per_major)) - 1
    return {"amount": f"{amount:.{digits}f}", "currency": shop.base_currency}


def _offer(offer: Offer | None, shop: Shop, *, given: datetime, now: datetime) -> dict[str, Any] | None:
    if offer is None:
        return None
    return {
        "slug": offer.slug,
        "name": offer.name,
        "kind": offer.kind,
        "text": _offer_text(offer, shop),
        "percentage": f"{offer.percentage.normalize():f}" if offer.percentage is not None else None,
        "value": money(offer.value_minor, shop),
        "code": offer.code or None,
        "valid_until": _valid_until(offer, _day(given, shop), _day(now, shop)).isoformat(),
    }


def _day(moment: datetime, shop: Shop) -> date:
    return moment.astimezone(shop.zone).date()


def _valid_until(offer: Offer, given: date, today: date) -> date:
    """Counted from the day it was first given. A campaign that gives it on after that gives it anew for as long."""
    terms = max(1, math.ceil((today - given).days / max(1, offer.valid_days)))
    return given + timedelta(days=terms * offer.valid_days)


def _offer_text(offer: Offer, shop: Shop) -> str:
    """The text with its values filled in; {products} is left to the receiver, who knows the shelf."""
    value = money(offer.value_minor, shop)
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
