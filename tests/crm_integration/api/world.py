"""Tokens of every kind, and at least one row of everything the door shows."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from datetime import timedelta

from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from crm_integration import tokens
from crm_integration.models import Connection, DeliveryAttempt, InboundMessage, OutboundMessage, Scope
from segmentation import crypto
from segmentation.decisions import policy as policies
from segmentation.models import (
    Campaign,
    CampaignResult,
    Customer,
    Decision,
    DemandOutlook,
    InputSnapshot,
    Membership,
    ModelVersion,
    Offer,
    PolicyEstimate,
    PrivacyRequest,
    Product,
    Segment,
    ServicePriority,
    Shop,
)
from tests.crm_integration import fixtures
from tests.segmentation.admin import world

ORDERS = b"""event_id,kind,occurred_at,customer_id,order_id,product_id,product_name,category,quantity,unit_price,discount,currency,rating,text,channel
e1,order_placed,2024-05-01 10:00:00,K1,o1,P1,Candle,Home,2,3.50,0,GBP,,,web
e2,order_placed,2024-05-02 10:00:00,K2,o2,P1,Candle,Home,1,3.50,0,GBP,,,web
"""  # noqa: E501
ALL = frozenset(Scope.values)
READING = frozenset(scope for scope in Scope.values if scope.endswith(":read"))


def token(scopes=ALL, *, connection=None, **options):
    """The text of a new token."""
    return made(scopes, connection=connection, **options)[1]


def made(scopes=ALL, *, connection=None, **options):
    if connection is None and set(scopes) & {"events:write", "customers:write"}:
        connection = sender()
    return tokens.issue(name="Desk", scopes=scopes, connection=connection, **options)


def sender():
    return Connection.objects.filter(slug="rest").first() or fixtures.connection("rest")


def expired():
    row, text = made()
    type(row).objects.filter(pk=row.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    return text


def revoked():
    row, text = made()
    tokens.revoke(row)
    return text


def orders(content=ORDERS, name="orders.csv"):
    """A file to upload."""
    return SimpleUploadedFile(name, content)


def bearer(text):
    return {"authorization": f"Bearer {text}"}


@dataclass
class Api:
    """A client with a token: api.get("/api/customers/", tier="high")."""

    client: object
    text: str
    headers: dict = field(default_factory=dict)

    def get(self, path, *, headers=None, **query):
        return self.client.get(path, query, headers={**bearer(self.text), **(headers or {})})

    def post(self, path, body=None, *, headers=None, content_type="application/json"):
        given = {} if body is None else {"data": body}
        return self.client.post(
            path, content_type=content_type, headers={**bearer(self.text), **(headers or {})}, **given
        )

    def upload(self, file=None, *, headers=None, **fields):
        """Bring a file in as a form does."""
        body = {**fields, "file": orders() if file is None else file}
        return self.client.post("/api/imports/", body, headers={**bearer(self.text), **(headers or {})})

    def pages(self, path, **query):
        """Every result of a list, page by page."""
        found, answer = [], self.get(path, **query).json()
        found += answer["results"]
        while answer["next"]:
            answer = self.client.get(answer["next"], headers=bearer(self.text)).json()
            found += answer["results"]
        return found


def filled():
    """One row of everything; the URL arguments of a row by the name of its route."""
    Shop.get()
    rows = world.shop_with_everything()
    customer = Customer.objects.get(reference="K-100")
    decision = decided(customer)
    ServicePriority.objects.update_or_create(customer=customer, defaults={"level": 4})
    connection = sender()
    sent = OutboundMessage.objects.create(
        connection=connection, message_id="m1", topic="decision.made", body=b"{}", customer=customer
    )
    DeliveryAttempt.objects.create(message=sent, number=1, status_code=500, error="HTTP 500")
    came = InboundMessage.objects.create(
        connection=connection, dedupe_key="k", body=b"{}", body_sha256="0" * 64, state="done"
    )
    estimate = estimated(rows)
    campaign = Campaign.objects.earliest("pk")
    CampaignResult.objects.create(campaign=campaign, state="done", result={"outcomes": {}})
    asked = PrivacyRequest.objects.create(
        kind="export", state="done", source="api:x", subject_key="0" * 64,
        result=crypto.encrypt(gzip.compress(b'{"held": true}')),
    )  # fmt: skip
    return {
        "api_campaign_results": [campaign.slug],
        "api_customer": [customer.reference],
        "api_next_action": [customer.reference],
        "api_why": [customer.reference],
        "api_customer_events": [customer.reference],
        "api_customer_scores": [customer.reference],
        "api_contact": [customer.reference],
        "api_message": [came.pk],
        "api_decision": [decision.pk],
        "api_segment": [Segment.objects.get(pk=rows["segment"]).slug],
        "api_members": [Segment.objects.get(pk=rows["segment"]).slug],
        "api_offer": [Offer.objects.get(pk=rows["offer"]).slug],
        "api_product": [Product.objects.get().external_id],
        "api_training": [rows["trainingrun"]],
        "api_cancel_training": [rows["trainingrun"]],
        "api_classification": [rows["scoringrun"]],
        "api_cancel_classification": [rows["scoringrun"]],
        "api_estimate": [estimate.pk],
        "api_import": [rows["importrun"]],
        "api_cancel_import": [rows["importrun"]],
        "api_outlook": [DemandOutlook.objects.create(weeks=4, state="done").pk],
        "api_model": [ModelVersion.objects.get(pk=rows["modelversion"]).number],
        "api_delivery": [sent.pk],
        "api_privacy_request": [asked.pk],
        "api_privacy_document": [asked.pk],
    }


def estimated(rows):
    """Of the campaign, which draws."""
    Offer.objects.filter(pk=rows["offer"]).update(slug="drawn")
    Campaign.objects.filter(pk=rows["campaign"]).update(slug="drawn", choice="sampling")
    return PolicyEstimate.objects.create(campaign_id=rows["campaign"], offer_id=rows["offer"])


def decided(customer, *, offer=None, campaign=None, priority=2):
    """A decision under the policy in force, with a verdict for nobody."""
    policy = policies.current(world.AS_OF)
    now = policies.stored(policy)
    snapshot = InputSnapshot.objects.create(
        customer=customer, input_version=customer.input_version, as_of=world.AS_OF, content=b"{}", policy=now
    )
    count = len(policy.candidates) + len(policy.priorities)
    return Decision.objects.create(
        customer=customer, input_version=customer.input_version, policy=now, snapshot=snapshot, as_of=world.AS_OF,
        cause=Decision.Cause.EVENT, offer=offer, campaign=campaign, priority=priority, verdicts=bytes(count),
    )  # fmt: skip


def crowd(count, **fields):
    """More customers, each in a segment, with an offer, a score-like headline and a decision."""
    return [everything_about(customer) for customer in world.customers(count, **fields)]


def everything_about(customer):
    segment = Segment.objects.first() or world.segment()
    Membership.objects.get_or_create(segment=segment, customer=customer)
    decided(customer)
    ServicePriority.objects.update_or_create(customer=customer, defaults={"level": 3})
    world.order(customer)
    return customer
