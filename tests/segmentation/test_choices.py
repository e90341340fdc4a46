"""Where a budget ends: the last customer it reaches, before launch, while it runs, and on past days."""

from __future__ import annotations

from datetime import timedelta

import pytest

from segmentation import choices, policy_backtests, previews, targets
from segmentation.dashboard import backtest_page
from segmentation.dashboard import previews as shown
from segmentation.decisions import policy as policies
from segmentation.kinds import EventKind
from segmentation.models import Campaign, Customer, Event, EventSource, Grant, PolicyBacktest, Shop, Usage
from tests.segmentation.decisions.shop import campaign, frame, offer
from tests.support import mini_shop
from tests.support.mini_shop import TODAY

pytestmark = pytest.mark.django_db
EVERYBODY = {"field": "feature.orders_90d", "op": ">=", "value": 0}


@pytest.fixture(autouse=True)
def _targets(db):
    targets.install()


@pytest.fixture
def asked(monkeypatch):
    """Customers 1 to 6 whose orders_90d are their uplift times ten; the frame stands for what is stored."""

    def ask(*orders: float, stand_for: int = 1):
        rows = frame(*({"orders": value / 10} for value in orders))
        everybody = previews.Asked(rows["customer_id"].to_list(), len(orders) * stand_for)
        monkeypatch.setattr(previews, "whom_to_ask", lambda *_most: everybody)
        monkeypatch.setattr(previews, "frames_of", lambda *_asked: [rows])

    return ask


def by_value(*offers, budget: int = 300, **fields) -> Campaign:
    made = campaign("value", *((EVERYBODY, one) for one in offers), start=False, budget_minor=budget)
    made.rules.update(uplift_field="feature.orders_90d", margin_minor=1000)
    Campaign.objects.filter(pk=made.pk).update(choice="value", **fields)
    made.refresh_from_db()
    return made


def test_the_last_customer_the_budget_reaches_is_named(asked):
    asked(3, 9, 2, 8, 5, 0.5)
    found = choices.margin(by_value(offer("a", cost_minor=100)))
    assert (found.customer_id, found.ratio, found.reached, found.wanted) == (5, 5.0, 3, 5)
    assert (found.cost_minor, found.gain_minor) == (300, 2200)
    # Of the five who are worth it, three at random: 2700 · 3/5.
    assert found.at_random_minor == 1620
    lines = shown.budget(Campaign.objects.get(slug="value"), Shop.get())["budget"]
    assert "the last is c5, with a gain of 5.00" in lines[1]
    assert "given to anybody who fits" in lines[2]


def test_who_has_an_offer_is_paid_for_and_leaves_room_for_others(asked):
    asked(3, 9, 2, 8, 5, 4)
    made = by_value(offer("a", cost_minor=100), budget=500)
    today = Shop.get().today()
    for number in (2, 4):
        Grant.objects.create(
            customer_id=number, campaign=made, offer=offer("a"), rule=made.rules.get().pk, cost_minor=100,
            granted_at="2024-06-01T10:00Z", valid_until=today + timedelta(days=5),
        )  # fmt: skip
    Usage.objects.create(campaign=made, given=2, spent_minor=200, most_minor=500)
    assert choices.left(made) == 300
    found = choices.margin(made)
    assert (found.reached, found.wanted, found.customer_id) == (3, 4, 1)


def test_a_sampled_customer_stands_for_as_many_as_it_should(asked):
    asked(3, 9, 2, 8, 5, 0.5, stand_for=10)
    found = choices.margin(by_value(offer("a", cost_minor=100), budget=3000))
    assert (found.reached, found.wanted, found.cost_minor) == (30, 50, 3000)


def test_a_dear_offer_gives_way_to_a_cheap_one_where_money_is_short(asked):
    asked(9, 8, 7, 6)
    made = by_value(offer("dear", cost_minor=400), offer("cheap", cost_minor=100), budget=400)
    made.rules.filter(offer__slug="dear").update(margin_minor=1400)
    choices.refresh(made)
    made.refresh_from_db()
    # Each step to the dear one costs 300 and brings less than 6 for each unit: at that price all take the cheap one.
    assert made.floor_ratio == pytest.approx(6.0)
    policy = choices.beside(made, [])
    (rows,) = previews.frames_of(None)
    assert previews.judge_frame(rows, policy).winner.tolist() == [0, 0, 1, 1]
    priced = policies.build([made], [])
    assert (previews.judge_frame(rows, priced).winner == 1).all()


def test_a_budget_that_reaches_everybody_has_no_border(asked):
    asked(3, 9)
    made = by_value(offer("a", cost_minor=100), budget=1000)
    assert choices.margin(made).ratio is None
    assert "It reaches all 2" in shown.budget(made, Shop.get())["budget"][1]


def test_a_backtest_names_the_border_of_a_past_day():
    mini_shop.build(50)
    made = by_value(offer("a", cost_minor=100), budget=300)
    made.rules.update(uplift_field="feature.orders_lifetime", margin_minor=1000)
    row = policy_backtests.request(made, [TODAY - timedelta(days=60)])
    policy_backtests.work(row.pk)
    row = PolicyBacktest.objects.get(pk=row.pk)
    (day,) = row.result["days"].values()
    assert day["budget"]["reached"] == 3 < day["budget"]["wanted"] == day["reached"]
    assert day["budget"]["gain_minor"] > day["budget"]["at_random_minor"]
    (_day, lines) = backtest_page.context(row, Shop.get())["conflicts"][0]
    assert any("where it brings most" in line for line in lines)


def test_an_offer_succeeds_by_an_order_that_stands_within_its_last_day_where_the_shop_is():
    """Neither a cancelled order nor one from before that is changed or cancelled later is a success."""
    shop = Shop.get()
    shop.time_zone = "America/New_York"
    shop.save()
    made = campaign("draws", (EVERYBODY, offer("a")), choice="sampling")
    source = EventSource.objects.create(slug="t")
    told = [
        (1, "placed", "2024-06-11T02:00Z", ""),  # still the 10th in New York
        (2, "placed", "2024-06-11T06:00Z", ""),
        (3, "placed", "2024-06-05T10:00Z", "o3"),
        (3, "cancelled", "2024-06-06T10:00Z", "o3"),
        (4, "changed", "2024-06-05T10:00Z", "o4"),
    ]
    kinds = {
        "placed": EventKind.ORDER_PLACED, "changed": EventKind.ORDER_CHANGED, "cancelled": EventKind.ORDER_CANCELLED,
    }  # fmt: skip
    for number, (who, kind, at, key) in enumerate(told):
        Event.objects.create(
            customer=Customer.objects.get_or_create(pk=who, defaults={"reference": f"c{who}"})[0],
            kind=kinds[kind], occurred_at=at, received_at=at, source=source, source_key=f"e{number}", order_key=key,
            amount_minor=100,
        )  # fmt: skip
    for who in range(1, 5):
        Grant.objects.create(
            customer_id=who, campaign=made, offer=offer("a"), rule=made.rules.get().pk,
            granted_at="2024-06-01T10:00Z", valid_until="2024-06-10",
        )  # fmt: skip
    choices.refresh(made)
    rule = made.rules.get()
    assert (rule.tried, rule.succeeded) == (4, 1)
