"""Every verdict there is comes of some golden customer: a code that nothing leads to any more is seen here."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest

from segmentation import holdouts, service
from segmentation.decisions.codes import Verdict
from segmentation.models import (
    AttributeDefinition,
    Campaign,
    Customer,
    FrequencyCap,
    HoldoutGroup,
    Offer,
    OfferCode,
    Suppression,
)
from segmentation.models.customers import PriorityLevel
from tests.segmentation.decisions.shop import (
    AS_OF,
    FREQUENT,
    LEAVING,
    campaign,
    offer,
    priority,
    run,
    verdicts,
)

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
FITS = {"orders": 4, "version": 9}
LEAVES = {"churn": 0.9, "version": 9}


def before(days: int, row: dict) -> None:
    """Decide the customer so many days earlier."""
    run({**row, "version": 1}, as_of=AS_OF - timedelta(days=days), at=NOON - timedelta(days=days))


def holds_out_the_first(rows) -> None:
    salts = (f"salt {number}" for number in range(99))
    rows.update(salt=next(salt for salt in salts if holdouts.is_held_out(holdouts.Draw(salt, 50), "c1")))


def worth(*rules: dict, **terms) -> None:
    """A campaign that compares what its rules bring."""
    made = campaign("c", *((FREQUENT, offer(f"o{place}", cost_minor=100)) for place in range(len(rules))))
    for rule, brings in zip(made.rules.order_by("position"), rules, strict=True):
        made.rules.filter(pk=rule.pk).update(margin_minor=1000, **brings)
    Campaign.objects.update(choice="value", **terms)


class Golden:
    """A method for each verdict, by its name: makes a shop and gives the values of its customers, the golden one last."""

    def rule_false(self):
        campaign("c", (FREQUENT, offer("a")))
        return [{"orders": 1}]

    def won(self):
        campaign("c", (FREQUENT, offer("a")))
        return [FITS]

    def outranked(self):
        campaign("first", (FREQUENT, offer("a")), priority=2)
        campaign("second", (FREQUENT, offer("b")))
        return [FITS]

    def not_profiled(self):
        campaign("c", (LEAVING, offer("a")))
        return [{**LEAVES, "profiled": False}]

    def offer_inactive(self):
        campaign("c", (FREQUENT, offer("a")))
        Offer.objects.update(is_active=False)
        return [FITS]

    def offer_not_now(self):
        campaign("c", (FREQUENT, offer("a", starts_on=AS_OF)))
        return [FITS]

    def no_consent(self):
        campaign("c", (FREQUENT, offer("a")))
        return [{**FITS, "consent": "denied"}]

    def suppressed(self):
        campaign("c", (FREQUENT, offer("a")))
        Suppression.objects.create(customer=Customer.objects.create(pk=1, reference="c1"), reason="asked us")
        return [FITS]

    def held_out_global(self):
        campaign("c", (FREQUENT, offer("a")))
        HoldoutGroup.objects.create(percent=50)
        holds_out_the_first(HoldoutGroup.objects)
        return [FITS]

    def held_out_campaign(self):
        campaign("c", (FREQUENT, offer("a")), holdout_percent=50)
        holds_out_the_first(HoldoutGroup.objects)
        return [FITS]

    def re_entry_wait(self):
        campaign("c", (FREQUENT, offer("a", valid_days=2)), re_entry="never")
        before(9, FITS)
        return [FITS]

    def unreadable(self):
        AttributeDefinition.objects.create(slug="vip", label="VIP", kind=AttributeDefinition.Kind.BOOLEAN)
        campaign("c", ({"field": "attribute.vip", "op": "is", "value": True}, offer("a")))
        AttributeDefinition.objects.all().delete()
        return [FITS]

    def capped(self):
        FrequencyCap.objects.create(name="One a week", most=1, days=7)
        for number in range(2):
            campaign(f"c{number}", (FREQUENT, offer(f"o{number}")), stacks=True)
        return [FITS]

    def outside_hours(self):
        campaign("c", (FREQUENT, offer("a")), hours_from=time(8), hours_to=time(9))
        return [FITS]

    def budget_gone(self):
        campaign("c", (FREQUENT, offer("a", cost_minor=500)), budget_minor=500)
        return [FITS, FITS]

    def offer_gone(self):
        campaign("c", (FREQUENT, offer("a", limit_total=1)))
        return [FITS, FITS]

    def no_code(self):
        pool = offer("a", codes="pool")
        OfferCode.objects.create(offer=pool, code="X1")
        campaign("c", (FREQUENT, pool))
        return [FITS, FITS]

    def customer_limit(self):
        campaign("c", (FREQUENT, offer("a", valid_days=1, limit_per_customer=1)))
        before(9, FITS)
        return [FITS]

    def not_triggered(self):
        campaign("c", (FREQUENT, offer("a")), trigger="event", trigger_event=6)
        return [FITS]

    def excluded(self):
        for number in range(2):
            campaign(f"c{number}", (FREQUENT, offer(f"o{number}")), stacks=True, exclusive_group="spring")
        return [FITS]

    def beside(self):
        for number in range(2):
            campaign(f"c{number}", (FREQUENT, offer(f"o{number}")), stacks=True)
        return [FITS]

    def kept(self):
        campaign("c", (FREQUENT, offer("a", valid_days=5)), on_lost="keep")
        before(1, FITS)
        return [{**FITS, "orders": 1}]

    def not_chosen(self):
        worth({"uplift": 0.2}, {"uplift": 0.3})
        return [FITS]

    def not_worth(self):
        worth({"uplift": 0.05})
        return [FITS]

    def below_floor(self):
        worth({"uplift": 0.2}, floor_ratio=5.0)
        return [FITS]

    def priority_set(self):
        priority(1, FREQUENT, PriorityLevel.HIGH)
        return [FITS]

    def priority_after(self):
        priority(1, FREQUENT, PriorityLevel.HIGH)
        priority(2, FREQUENT, PriorityLevel.LOW)
        return [FITS]

    def priority_needs_approval(self):
        priority(1, LEAVING, PriorityLevel.LOW)
        return [LEAVES]

    def priority_raised(self):
        priority(1, FREQUENT, PriorityLevel.LOW)
        priority(2, FREQUENT, PriorityLevel.HIGH, is_promise=True)
        return [FITS]

    def priority_expired(self):
        priority(1, FREQUENT, PriorityLevel.URGENT, expires_days=2)
        before(3, FITS)
        return [FITS]

    def priority_overridden(self):
        priority(1, FREQUENT, PriorityLevel.HIGH)
        customer = Customer.objects.create(pk=1, reference="c1")
        until = NOON + timedelta(days=1)
        service.override(customer, PriorityLevel.URGENT, reason="press", until=until, by=None, now=NOON)
        return [FITS]


@pytest.mark.parametrize("verdict", Verdict, ids=lambda verdict: verdict.name)
def test_every_verdict_is_somebodys(verdict):
    rows = getattr(Golden(), verdict.name.lower())()
    run(*rows, at=NOON)
    assert verdict.name in verdicts(len(rows))
