"""Whatever order a CRM's updates arrive in, and whenever they are scored between, they end where in order they would."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crm_integration import inbox
from crm_integration.models import Connection
from segmentation import scoring
from segmentation.models import Customer, Decision, Event
from segmentation.models.customers import PriorityLevel
from tests.crm_integration import fixtures
from tests.segmentation.decisions.shop import FREQUENT, campaign, offer, priority

# 500 with `make faults`.
MACHINES = int(os.environ.get("ORDER_MACHINES", "15"))
ORDERS = 3
AMOUNTS = ("5.00", "80.00", "900.00")
orders = st.integers(1, ORDERS)


class Updates(RuleBasedStateMachine):
    """One customer of a Shopify shop. Each change to an order is a message; messages overtake each other, and repeat."""

    @initialize()
    def open(self):
        self.atom = transaction.atomic()
        self.atom.__enter__()
        self.connection = Connection.objects.get(slug="shop")
        self.began = timezone.now() - timedelta(days=20)
        self.told, self.deliveries, self.state = [], 0, {}
        # The customer is there before anything differs, with a place of their own in every draw.
        self.buys(0, "20.00")
        self._arrive(self.told[0])
        self.first = transaction.savepoint()
        self.on_the_way, self.arrived = [], []

    def teardown(self):
        if not hasattr(self, "first"):
            return
        for message in reversed(self.on_the_way):
            self._arrive(message)
        mixed = self._standing()
        transaction.savepoint_rollback(self.first)
        for message in self.told[1:]:
            self._arrive(message)
        in_order = self._standing()
        transaction.set_rollback(True)
        self.atom.__exit__(None, None, None)
        assert mixed == in_order

    # --- what happens in the shop
    @rule(number=orders, amount=st.sampled_from(AMOUNTS))
    def buys(self, number, amount):
        """Or an order is changed, as long as it is not cancelled."""
        if not self.state.get(number, {}).get("cancelled_at"):
            self._changed(number, subtotal_price=amount)

    @precondition(lambda self: self.state)
    @rule(number=orders)
    def cancels(self, number):
        if number in self.state:
            self._changed(number, cancelled_at=self._now())

    @precondition(lambda self: self.state)
    @rule(number=orders)
    def is_paid_back(self, number):
        if number in self.state:
            line = {"quantity": 1, "subtotal": "1.00", "line_item": {"product_id": 7, "title": "Tea"}}
            refund = {"id": f"{number}1", "created_at": self._now(), "refund_line_items": [line]}
            self._changed(number, refunds=[refund])

    # --- what the network and the workers make of it
    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def arrives(self, data):
        message = self.on_the_way.pop(data.draw(st.integers(0, len(self.on_the_way) - 1)))
        self.arrived.append(message)
        self._arrive(message)

    @precondition(lambda self: self.arrived)
    @rule(data=st.data())
    def arrives_again(self, data):
        self._arrive(data.draw(st.sampled_from(self.arrived)))

    @rule()
    def is_scored(self):
        scoring.rescore_due()

    def _changed(self, number, **changes):
        fresh = {
            "id": number,
            "created_at": self._now(),
            "currency": "GBP",
            "financial_status": "paid",
            "customer": {"id": 7},
            "line_items": [{"product_id": 7, "title": "Tea", "quantity": 1, "price": "5.00"}],
        }
        self.state[number] = {**self.state.get(number, fresh), **changes, "updated_at": self._now()}
        message = json.dumps(self.state[number]).encode()
        self.told.append(message)
        if hasattr(self, "on_the_way"):
            self.on_the_way.append(message)

    def _now(self):
        """In the shop: an hour later with each change."""
        return (self.began + timedelta(hours=len(self.told))).isoformat()

    def _arrive(self, message):
        self.deliveries += 1
        inbox.store(
            self.connection, dedupe_key=str(self.deliveries), body=message, received_at=timezone.now(),
            topic="orders/updated",
        )  # fmt: skip
        inbox.process_due()

    def _standing(self):
        """Everything that counts about the customer in the end."""
        scoring.rescore_due()
        customer = Customer.objects.get()
        facts = Event.objects.filter(superseded_at=None).order_by("kind", "source_key")
        decision = Decision.objects.filter(customer=customer).latest("pk")
        return (
            [
                getattr(customer, name)
                for name in ("orders", "spent_minor", "tier", "priority", "current_offer_id")
            ],
            list(facts.values_list("kind", "source_key", "amount_minor")),
            (decision.offer_id, decision.campaign_id, decision.priority),
        )


@pytest.mark.django_db
def test_the_order_of_arrival_changes_nothing_in_the_end():
    spent = {"field": "feature.spend_365d", "op": ">=", "value": 100}
    campaign("often", (FREQUENT, offer("thanks")), re_entry="always")
    campaign("dear", (spent, offer("gift")), re_entry="always")
    priority(1, spent, PriorityLevel.URGENT)
    fixtures.connection(adapter="shopify")
    run_state_machine_as_test(
        Updates,
        settings=settings(
            max_examples=MACHINES,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
