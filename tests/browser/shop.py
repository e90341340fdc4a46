"""A shop for the browser with something on every page: customers with results, campaigns, messages, a few runs."""

from __future__ import annotations

from datetime import date, timedelta

from django.contrib import admin
from django.test import Client
from django.utils import timezone

from crm_integration import inbox, outbox, tokens
from crm_integration.models import InboundMessage, Scope
from segmentation import campaigns, roles, scoring, service, targets
from segmentation.models import (
    AttributeDefinition,
    AuditEntry,
    Campaign,
    Customer,
    CustomerMap,
    Decision,
    DemandOutlook,
    EvaluationRun,
    ExchangeRate,
    FrequencyCap,
    Grant,
    Offer,
    PriorityReview,
    PrivacyRequest,
    ServicePriorityRule,
    Suppression,
    TextModel,
    WorkerProcess,
)
from tests.crm_integration import fixtures
from tests.segmentation.admin import test_features, test_texts, world
from tests.support import mini_shop

OFTEN = {"field": "feature.orders_lifetime", "op": ">=", "value": 3}


def first_rows() -> dict[str, int]:
    """Of every model that has a page and a row."""
    firsts = ((model, model._default_manager.order_by("pk").first()) for model in admin.site._registry)
    return {model._meta.model_name: row.pk for model, row in firsts if row is not None}


def rows_inside(campaign: Campaign, offer: Offer) -> None:
    """A second rule with a condition in the campaign's page, and a text in the offer's."""
    first = campaign.rules.get()
    campaign.rules.create(
        position=2, name="Second", segment=first.segment, offer=first.offer, condition=OFTEN
    )
    offer.texts.create(language="zh-hans", text="一支蜡烛")


def settings() -> None:
    AttributeDefinition.objects.create(slug="vip", label="VIP", kind="choice", choices=["gold"])
    ExchangeRate.objects.create(day=date(2024, 6, 1), currency="USD", rate="0.92")
    roles.install()
    PrivacyRequest.objects.create(kind=PrivacyRequest.Kind.EXPORT, source="staff", subject_key="k")


def asked_for(customer: Customer, campaign: Campaign, offer: Offer) -> None:
    """What workers answer when they are asked, and what they keep beside it."""
    over = {"state": "failed", "error": "The data were not there."}
    DemandOutlook.objects.create(weeks=4, **over)
    CustomerMap.objects.create(method=CustomerMap.Method.PCA, **over)
    EvaluationRun.objects.create(**over)
    TextModel.objects.create(as_of=world.AS_OF, about=test_texts.ABOUT, content=b"", sha256="0" * 64)
    test_features.drawn()
    WorkerProcess.objects.create(name="worker-1", kind="worker")
    Grant.objects.create(
        customer=customer,
        campaign=campaign,
        offer=offer,
        rule=1,
        granted_at=world.AT,
        valid_until=world.AS_OF,
    )


def filled() -> dict[str, int]:
    """Model names to the id of a row to open."""
    targets.install()
    mini_shop.build(30)
    whom, gives = world.segment("Buys often", rule=OFTEN), world.offer("A candle")
    made = world.campaign(whom, gives, needs_marketing_consent=False)
    campaigns.move(made, "running")
    rule = ServicePriorityRule.objects.create(
        position=2, name="Knows us well", level=4, condition=OFTEN, handling="Call back", owner="Key accounts",
        target_minutes=60,
    )  # fmt: skip
    ids = list(Customer.objects.order_by("pk").values_list("pk", flat=True))
    scoring.score_customers(ids, scoring.pin(), cause=Decision.Cause.BATCH)
    # Its champion is a row without a model, so everybody is classified before it serves.
    rows = world.shop_with_everything()
    decided = Decision.objects.filter(campaign=made).order_by("-pk")[0]
    customer = Customer.objects.get(pk=decided.customer_id)
    service.override(customer, 3, reason="Asked for it", until=timezone.now() + timedelta(days=365), by=None)
    review = PriorityReview.objects.create(customer=customer, rule=rule, level=1, otherwise=2)
    cap = FrequencyCap.objects.create(name="All channels", most=2, days=7)
    kept = Suppression.objects.create(customer=customer, reason="Asked for it")
    AuditEntry.record("changed", cap, fields=["most"], before={"most": 1}, after={"most": 2})
    row = fixtures.connection(url="https://receiver.example.com/in")
    fixtures.deliver(Client(), row, fixtures.order(customer="K-100"))
    fixtures.deliver(Client(), row, fixtures.order(customer="K-100"), headers={"webhook-id": "unsigned"})
    outbox.stage_test(row)
    tokens.issue(name="Reports of the warehouse", scopes=Scope.values, connection=row)
    rows_inside(made, gives)
    settings()
    asked_for(customer, made, gives)
    message = InboundMessage.objects.get()
    inbox.process(message.pk)
    return {
        **first_rows(),
        **rows,
        "campaign": made.pk, "customer": customer.pk, "decision": decided.pk, "frequencycap": cap.pk,
        "offer": gives.pk, "priorityreview": review.pk, "segment": whom.pk, "servicepriorityrule": rule.pk,
        "suppression": kept.pk, "connection": row.pk,
        "inboundmessage": message.pk,
    }  # fmt: skip
