"""What receivers are told (the format is documented in docs/webhooks.md). No contact data leaves in a decision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

import orjson
from django.db.models import Max, prefetch_related_objects
from django.utils.translation import gettext as _

from segmentation import in_force, lookups, offer_texts
from segmentation.dashboard import words
from segmentation.decisions import standing
from segmentation.models import Decision, Grant, Membership, Offer, ServicePriority, Shop
from segmentation.models.customers import Customer, PriorityLevel
from segmentation.news import News

DECISION_TOPIC = "decision.made"
# The same content: another tier or other segments, while the decision stands.
CLASSIFIED_TOPIC = "customer.classified"
CUSTOMER_TOPICS = (DECISION_TOPIC, CLASSIFIED_TOPIC)
TEST_TOPIC = "ping"
# Kept, so that their statements are worked out once (segmentation/lookups.py).
_DECISIONS: Final = Decision.objects.select_related("customer", "offer", "campaign").order_by()
_NEWEST: Final = Decision.objects.order_by().values("customer_id").annotate(newest=Max("pk"))
_MEMBERSHIPS: Final = Membership.objects.filter(segment__is_active=True).order_by()
_PRIORITIES: Final = ServicePriority.objects.select_related("rule").order_by()
_GRANTS: Final = (
    Grant.objects.filter(ended_at__isnull=True).select_related("offer", "campaign", "customer").order_by()
)


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

    Scores and reasons move with every event, suggested products with every classification, and the last day of an
    offer when it is given anew: they are told along.
    """
    data = orjson.loads(body)["data"]
    offer = data["offer"] and _lasting(data["offer"])
    also = [_lasting(one) for one in data.get("also", ())]
    return (sorted(data["segments"]), data["tier"], offer, data["campaign"], data["service_priority"], also)


def _lasting(offer: Mapping[str, Any]) -> dict[str, Any]:
    passing = {"valid_until", "products"} | ({"text", "texts"} if offer.get("products") else set())
    return {name: value for name, value in offer.items() if name not in passing}


def about(news: Sequence[News], *, told: Mapping[int, int], now: datetime) -> list[CustomerMessage]:
    """What is true of these customers now, in a handful of queries; nothing of one without a decision.

    told: customer id → the version of the last message about them.
    """
    announced = {one.customer_id: one.decision_id for one in news}
    rows = _decisions(announced)
    customers = [row.customer_id for row in rows]
    segments = _segments(customers)
    priorities = {
        row.customer_id: row for row in lookups.objects_in(_PRIORITIES, customers, by="customer_id")
    }
    given = standing.given_at([row.customer_id for row in rows if row.offer_id is not None])
    grants = _grants(customers)
    _read_texts(rows, grants)
    shop = in_force.shop()
    messages = []
    for row in rows:
        key = row.customer_id
        is_new = announced[key] is not None
        version = _version(now, told.get(key, 0))
        topic = DECISION_TOPIC if is_new else CLASSIFIED_TOPIC
        offer = _current(row, grants[key], shop, given=given.get(key, row.decided_at), now=now)
        data = _decision(row, version, offer, segments[key], priorities.get(key), shop)
        data["also"] = _also(row, grants[key], shop)
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
    """The `data` of a message about the decision's customer, without its version: true now, in a fixed number of queries.

    decision: with its customer, offer and campaign. priority: the customer's, with its rule.
    """
    key = decision.customer_id
    given = standing.given_at([key]) if decision.offer_id is not None else {}
    granted = _grants([key])
    grants = granted[key]
    _read_texts([decision], granted)
    offer = _current(decision, grants, shop, given=given.get(key, decision.decided_at), now=now)
    data = _decision(decision, 0, offer, _segments([key])[key], priority, shop)
    data["also"] = _also(decision, grants, shop)
    del data["version"]
    return data


def _decisions(announced: Mapping[int, int | None]) -> list[Decision]:
    """The decisions that are announced, and the newest of customers without one, in order of id."""
    standing_for = [customer for customer, decision in announced.items() if decision is None]
    keys = [decision for decision in announced.values() if decision is not None]
    keys += [
        newest for _customer, newest in lookups.values_in(_NEWEST, standing_for, "customer_id", "newest")
    ]
    return sorted(lookups.objects_in(_DECISIONS, keys), key=attrgetter("pk"))


def _read_texts(decisions: Sequence[Decision], grants: Mapping[int, Sequence[Grant]]) -> None:
    """What all their offers say in other languages, in one query; none without an offer."""
    offers = [decision.offer for decision in decisions if decision.offer is not None]
    offers += [grant.offer for of_customer in grants.values() for grant in of_customer]
    if offers:
        prefetch_related_objects(offers, "texts")


def _version(now: datetime, told: int) -> int:
    """Microseconds since 1970, and more than the last one even where a clock went back."""
    return max(int(now.timestamp() * 1_000_000), told + 1)


def _body(topic: str, at: datetime, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": topic, "timestamp": at.astimezone(UTC).isoformat(), "data": data})


def _segments(customer_ids: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
    """(slug, name) of each customer's segments."""
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    columns = ("customer_id", "segment__slug", "segment__name")
    for customer, slug, name in sorted(lookups.values_in(_MEMBERSHIPS, customer_ids, *columns)):
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


def _grants(customer_ids: Sequence[int]) -> dict[int, list[Grant]]:
    """What customers have that was written down one by one, with what was given beside their decision."""
    found: dict[int, list[Grant]] = defaultdict(list)
    merged = lookups.values_in(Customer.objects.all(), customer_ids, "id", by="merged_into_id")
    theirs = [*customer_ids, *(key for (key,) in merged)]
    for grant in sorted(lookups.objects_in(_GRANTS, theirs, by="customer_id"), key=attrgetter("pk")):
        # What a person was given under an id that was merged since is theirs.
        found[grant.customer.merged_into_id or grant.customer_id].append(grant)
    return found


def _current(
    decision: Decision, grants: Sequence[Grant], shop: Shop, *, given: datetime, now: datetime
) -> dict[str, Any] | None:
    """The offer of the decision; its code and last day are those of its grant where it was counted."""
    offer = decision.offer
    if offer is None:
        return None
    own = (g for g in grants if g.campaign_id == decision.campaign_id and g.offer_id == offer.pk)
    grant = next(own, None)
    if grant is not None:
        return _offer(grant.offer, decision.customer, shop, code=grant.code, until=grant.valid_until)
    until = _valid_until(offer, _day(given, shop), _day(now, shop))
    return _offer(offer, decision.customer, shop, code="", until=until)


def _also(decision: Decision, grants: Sequence[Grant], shop: Shop) -> list[dict[str, Any]]:
    """Offers of campaigns that are given beside the decision's."""
    return [
        {
            "campaign": {"slug": grant.campaign.slug, "name": grant.campaign.name},
            **_offer(grant.offer, decision.customer, shop, code=grant.code, until=grant.valid_until),
        }
        for grant in grants
        if grant.campaign_id != decision.campaign_id
    ]


def _offer(offer: Offer, customer: Customer, shop: Shop, *, code: str, until: date) -> dict[str, Any]:
    code = code or offer.code
    filled = offer_texts.filled(offer, customer, shop, code=code, valid_until=until)
    texts = dict(filled.texts)
    return {
        "slug": offer.slug,
        "name": offer.name,
        "kind": offer.kind,
        "text": texts.pop(""),
        "texts": texts,
        "products": [{"number": one.external_id, "name": one.name} for one in filled.products],
        "percentage": f"{offer.percentage.normalize():f}" if offer.percentage is not None else None,
        "points": offer.points,
        "value": money(offer.value_minor, shop),
        "code": code or None,
        "valid_until": until.isoformat(),
    }


def _day(moment: datetime, shop: Shop) -> date:
    return moment.astimezone(shop.zone).date()


def _valid_until(offer: Offer, given: date, today: date) -> date:
    """Counted from the day it was first given. A campaign that gives it on after that gives it anew for as long."""
    terms = max(1, math.ceil((today - given).days / max(1, offer.valid_days)))
    return given + timedelta(days=terms * offer.valid_days)


def _priority(decision: Decision, current: ServicePriority | None) -> dict[str, Any]:
    stands = current if current is not None and current.level == decision.priority else None
    rule = stands.rule if stands is not None else None
    return {
        "level": decision.priority,
        "name": PriorityLevel(decision.priority).name.lower(),
        "handling": (rule.handling or None) if rule else None,
        "owner": (rule.owner or None) if rule else None,
        "answer_by": _moment(stands.respond_by) if stands is not None else None,
        "until": _moment(stands.expires_at) if stands is not None else None,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()


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
