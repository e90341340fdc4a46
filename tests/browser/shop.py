"""A shop for the browser with something on every page: customers with results, campaigns, messages, a few runs."""

from __future__ import annotations

from datetime import timedelta

from django.test import Client
from django.utils import timezone

from crm_integration import inbox
from crm_integration.models import InboundMessage
from segmentation import campaigns, scoring, service, targets
from segmentation.models import (
    AuditEntry,
    Customer,
    Decision,
    FrequencyCap,
    PriorityReview,
    ServicePriorityRule,
    Suppression,
)
from tests.crm_integration import fixtures
from tests.segmentation.admin import world
from tests.support import mini_shop

OFTEN = {"field": "feature.orders_lifetime", "op": ">=", "value": 3}


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
    row = fixtures.connection()
    fixtures.deliver(Client(), row, fixtures.order(customer="K-100"))
    message = InboundMessage.objects.get()
    inbox.process(message.pk)
    return {
        **rows,
        "campaign": made.pk, "customer": customer.pk, "decision": decided.pk, "frequencycap": cap.pk,
        "offer": gives.pk, "priorityreview": review.pk, "segment": whom.pk, "servicepriorityrule": rule.pk,
        "suppression": kept.pk, "connection": row.pk,
        "inboundmessage": message.pk,
    }  # fmt: skip
