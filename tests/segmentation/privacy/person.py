"""Eva: somebody about whom everything is held that can be held, and what brings her back if nothing stops it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from django.utils import timezone

from crm_integration import inbox
from crm_integration.models import DeliveryAttempt, InboundMessage, OutboundMessage
from segmentation import identities, imports, ingest
from segmentation.kinds import EventKind
from segmentation.models import (
    Campaign,
    Customer,
    CustomerFeatures,
    CustomerIdentity,
    DecideAgain,
    Decision,
    DueCustomer,
    EventSource,
    Explanation,
    Grant,
    InputSnapshot,
    Offer,
    OfferCode,
    PolicyVersion,
    PriorityOverride,
    PriorityReview,
    ProductSuggestion,
    Redemption,
    Score,
    ScoreHistory,
    ScoreOverride,
    ServicePriority,
    ServicePriorityRule,
    ShopContext,
    Suppression,
    Target,
)
from segmentation.normal import NormalConsent, NormalCustomer, NormalEvent, NormalItem
from tests.segmentation.admin import world

REFERENCE, EMAIL, PHONE = "KD-77301", "eva.muster@example.com", "+41791234567"
FIRST, LAST, CRM_ID, GUEST_EMAIL = "Evangelina", "Musterfrau", "crm-990017", "eva.private@example.net"
WORDS = (REFERENCE, EMAIL, PHONE, FIRST, LAST, CRM_ID, GUEST_EMAIL, "keyring for evi", "spent her savings")
SENTENCE = "I, Evangelina Musterfrau, spent her savings here"
AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
COMMON = {"received_at": AT + timedelta(days=1), "cause": "test"}


def source() -> EventSource:
    return EventSource.objects.get_or_create(slug="shop")[0]


def profile(reference=REFERENCE, email=EMAIL) -> NormalCustomer:
    return NormalCustomer(
        reference, email=email, first_name=FIRST, last_name=LAST, phone=PHONE, country="Switzerland",
        consents=(NormalConsent("marketing", "granted", AT),), attributes={"nickname": "keyring for evi"},
    )  # fmt: skip


def bought(reference=REFERENCE, key=f"{REFERENCE}|order-1", **fields) -> NormalEvent:
    given = {
        "source_key": key, "kind": EventKind.ORDER_PLACED, "occurred_at": AT, "customer": reference,
        "items": (NormalItem("P1", "Candle", "Home", 2, Decimal("19.90")),), "order_key": key,
    }  # fmt: skip
    return NormalEvent(**{**given, **fields})


def tell(customers=(), events=(), namespace=identities.SHOP):
    common = {"source": source(), "namespace": namespace, **COMMON}
    return (
        ingest.record_customers(customers, **common),
        ingest.record_events(events, **common),
    )


def live() -> Customer:
    """Eva with orders, words of her own, results, and a guest order that was joined to her."""
    tell([profile()], [bought(), bought(key="review-1", kind=EventKind.REVIEWED, text=SENTENCE, rating=5.0)])
    eva = Customer.objects.get(reference=REFERENCE)
    CustomerIdentity.objects.create(customer=eva, namespace="crm", value=CRM_ID)
    tell([], [bought(None, key="guest-order", email=GUEST_EMAIL)])
    guest = Customer.objects.exclude(pk=eva.pk).get(reference__startswith="guest:")
    identities.merge(eva, guest)
    _results(eva)
    eva.refresh_from_db()
    return eva


def _results(eva: Customer) -> None:
    churn = Target.objects.get(slug="churn")
    version = world.version(1)
    whom = world.segment()
    whom.memberships.create(customer=eva)
    whom.entries.create(customer=eva)
    whom.past_memberships.create(customer=eva, entered_at=timezone.now(), entered_by=1, left_by=1)
    Score.objects.create(customer=eva, target=churn, version=version, as_of=world.AS_OF, value=0.8)
    ScoreOverride.objects.create(customer=eva, target=churn, label="1", reason="Asked us to.")
    Explanation.objects.create(customer=eva, target=churn, version=version, kind="lime", as_of=world.AS_OF)
    ScoreHistory.objects.create(customer=eva, target=churn, version=version, as_of=world.AS_OF, value=0.7)
    ProductSuggestion.objects.create(
        customer=eva, target=churn, version=version, as_of=world.AS_OF, products=[]
    )
    context = ShopContext.objects.create(as_of=world.AS_OF, catalogue_version="x", data={})
    CustomerFeatures.objects.create(
        customer=eva, as_of=world.AS_OF, catalogue_version="x", context=context, vector=b""
    )
    ServicePriority.objects.create(customer=eva, level=3)
    DueCustomer.objects.get_or_create(customer=eva)
    policy = PolicyVersion.objects.create(sha256="0" * 64, content={})
    snapshot = InputSnapshot.objects.create(
        customer=eva, input_version=1, policy=policy, as_of=world.AS_OF, content=b"{}"
    )
    Decision.objects.create(
        customer=eva, input_version=1, policy=policy, snapshot=snapshot, as_of=world.AS_OF, cause=1, verdicts=b""
    )  # fmt: skip
    gives = world.offer()
    Redemption.objects.create(
        offer=gives, customer=eva, event=eva.events.earliest("pk"), redeemed_at=AT, discount_minor=100
    )
    said = {"level": 3, "reason": "a friend of the house", "until": AT}
    PriorityOverride.objects.create(customer=eva, **said)
    Suppression.objects.create(customer=eva, reason="asked by phone")
    DecideAgain.objects.create(customer=eva, at=AT)
    rule = ServicePriorityRule.objects.create(position=1, name="Low", condition={}, level=1)
    PriorityReview.objects.create(customer=eva, rule=rule, level=1, otherwise=2)
    grant = Grant.objects.create(
        customer=eva, campaign=Campaign.objects.create(slug="c", name="C"), offer=gives, rule=1, granted_at=AT,
        valid_until=AT.date(), code="X1",
    )  # fmt: skip
    OfferCode.objects.create(offer=gives, code="X1", grant_number=grant.pk, is_used=True)
    assert Offer.objects.exists()


def order_body(customer=REFERENCE, order="o-991", **data) -> dict:
    said = {"order_id": order, "customer": customer, "amount": "19.99", "currency": "GBP", **data}
    return {"type": "order.placed", "timestamp": AT.isoformat(), "data": said}


def customer_body(customer=REFERENCE, email=EMAIL) -> dict:
    said = {"id": customer, "customer": customer, "reference": customer, "email": email, "first_name": FIRST}
    return {"type": "customer.updated", "timestamp": AT.isoformat(), "data": said}


def received(connection, content, key) -> InboundMessage:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    message_id = inbox.receive(connection, dedupe_key=key, body=body, received_at=timezone.now()).message_id
    inbox.process(message_id)
    return InboundMessage.objects.get(pk=message_id)


def sent(connection, eva: Customer) -> OutboundMessage:
    message = OutboundMessage.objects.create(
        connection=connection, message_id="decision_1", topic="decision.made", customer=eva,
        body=json.dumps({"customer": {"reference": eva.reference}}).encode(),
    )  # fmt: skip
    DeliveryAttempt.objects.create(message=message, number=1, error=f"no such customer {eva.reference}")
    return message


MAPPING = {
    "columns": {"customer": "customer", "email": "email", "time": "at", "amount": "amount", "order": "order"},
    "source": "shop",
}


def orders_file(folder: Path, *rows: tuple[str, str, str], name="orders.csv") -> Path:
    """rows: customer, e-mail, order."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    lines = [f"{who},{email},2024-05-01 10:00,12.50,{order}" for who, email, order in rows]
    path.write_text("\n".join(["customer,email,at,amount,order", *lines]) + "\n")
    return path


def imported(path: Path, **fields):
    return imports.run(imports.Request(path=path, **{"mapping": MAPPING, **fields}))
