"""Outlooks as they are asked for and read: by the console, and by the REST door; from orders in the database."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import numpy as np
import pytest

from segmentation import bulk
from segmentation.dashboard import outlook_page
from segmentation.demand import outlooks, reading
from segmentation.kinds import EventKind
from segmentation.models import Category, Customer, DemandOutlook, Event, EventItem, Product, Shop
from tests.crm_integration.api import world as api_world
from tests.segmentation.admin.world import page
from tests.support import mini_shop
from tests.support.mini_shop import TODAY

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop():
    """150 buyers over a year and a half; an order is a teddy or a book, of a piece or three."""
    made = mini_shop.build(150)
    toys = Category.objects.create(name="toys", number=0)
    things = [
        Product.objects.create(external_id="T1", name="Teddy", category=toys),
        Product.objects.create(external_id="B1"),
    ]
    rng = np.random.default_rng(3)
    orders = Event.objects.filter(kind=EventKind.ORDER_PLACED).order_by("pk").values_list("pk", flat=True)
    rows = [(pk, things[int(rng.random() < 0.3)].pk, int(rng.choice([1, 3])), 100) for pk in orders]
    bulk.insert(EventItem, ("event_id", "product_id", "quantity", "amount_minor"), rows)
    return made


def worked(weeks=4) -> DemandOutlook:
    row = outlooks.ask(weeks)
    outlooks.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.error) == ("done", "")
    return row


def pieces(since, until, **which) -> int:
    """Pieces ordered on the days from `since` to before `until`, asked of the database one by one."""
    start, end = (datetime.combine(day, time.min, tzinfo=UTC) for day in (since, until))
    lines = EventItem.objects.filter(event__kind=EventKind.ORDER_PLACED, **which)
    return sum(
        line.quantity for line in lines.select_related("event") if start <= line.event.occurred_at < end
    )


def test_an_outlook_counts_what_was_bought_and_expects_about_as_much(shop):
    found = worked().result
    as_of = TODAY + timedelta(days=1)
    teddy, book = found["products"]["rows"]
    assert (teddy["number"], teddy["name"], teddy["category"]) == ("T1", "Teddy", "toys")
    assert teddy["last"] == pieces(as_of - timedelta(days=28), as_of, product__external_id="T1")
    assert found["categories"]["rows"][0]["last"] == teddy["last"]
    half_year = pieces(as_of - timedelta(days=182), as_of) / 26 * 4
    assert teddy["expected"] + book["expected"] == pytest.approx(half_year, rel=0.4)
    for row in (teddy, book):
        assert row["low"] <= row["expected"] <= row["high"]
    assert (
        sum(now for _name, now, _then in found["groups"])
        == Customer.objects.filter(events__kind=1).distinct().count()
    )
    assert found["products"]["check"]["days"] == [
        (as_of - timedelta(days=28 * back)).isoformat() for back in (4, 3, 2, 1)
    ]


def test_what_comes_after_the_day_is_not_read(shop):
    def lines():
        found = reading.read(as_of=TODAY, weeks=30, shop=shop)
        return len(found.pieces), found.week.min(), found.week.max()

    before = lines()
    eva = Customer.objects.first()
    late = mini_shop.order(eva, at=datetime.combine(TODAY, time(1), tzinfo=UTC), key="late")
    EventItem.objects.create(event=late, product=Product.objects.first(), quantity=50)
    assert lines() == before
    assert before[1:] == (0, 29)


def test_cancelled_orders_and_merged_customers_count_as_they_should(shop):
    first, second = Customer.objects.filter(events__kind=1).distinct().order_by("pk")[:2]
    before = reading.read(as_of=TODAY, weeks=60, shop=shop)
    orders = Event.objects.filter(
        customer=first,
        kind=EventKind.ORDER_PLACED,
        occurred_at__lt=datetime.combine(TODAY, time.min, tzinfo=UTC),
    )
    orders = orders.filter(
        occurred_at__gte=datetime.combine(TODAY - timedelta(weeks=60), time.min, tzinfo=UTC)
    )
    lost = EventItem.objects.filter(event__in=orders).count()
    orders.update(order_key="o")
    gone = mini_shop.order(first, at=datetime(2024, 2, 1, tzinfo=UTC), key="gone")
    Event.objects.filter(pk=gone.pk).update(kind=EventKind.ORDER_CANCELLED, order_key="o")
    Customer.objects.filter(pk=second.pk).update(merged_into=Customer.objects.order_by("-pk").first())
    after = reading.read(as_of=TODAY, weeks=60, shop=shop)
    assert lost > 0
    assert len(after.pieces) == len(before.pieces) - lost
    assert len(after.not_profiled) < len(before.not_profiled)


def test_who_is_not_profiled_is_in_no_group_and_still_buys(shop):
    before = worked().result
    Customer.objects.update(is_profiled=False)
    after = worked().result
    assert {then for _name, now, then in after["groups"] if now == 0} == {0}
    assert sum(now for _name, now, _then in after["groups"]) == 0
    assert [row["last"] for row in after["products"]["rows"]] == [
        row["last"] for row in before["products"]["rows"]
    ]
    assert after["products"]["rows"][0]["expected"] > 0


def test_too_short_a_history_is_said_with_the_weeks_it_needs(admin_client):
    mini_shop.build(20, days=100)
    row = worked(8)
    assert (row.result["weeks_known"], row.result["too_short"]) == (14, 29)
    shown = admin_client.get(page("demandoutlook_change", row.pk)).content.decode()
    assert "14 weeks of orders are known; this outlook needs 29" in shown


def test_orders_that_name_no_product_are_no_outlook_of_noughts(shop, admin_client):
    EventItem.objects.all().delete()
    row = worked()
    assert row.result["no_products"] is True
    shown = admin_client.get(page("demandoutlook_change", row.pk)).content.decode()
    assert "do not say which products were bought" in shown
    assert "How customers move" not in shown


def test_a_shop_without_orders_is_no_error():
    Shop.get()
    assert worked(1).result["too_short"] == 15


def test_it_is_asked_for_and_read_in_the_console(shop, admin_client):
    listed = admin_client.get(page("demandoutlook_changelist")).content.decode()
    assert "Work out the outlook" in listed
    answer = admin_client.post(page("demandoutlook_ask"), {"weeks": "2"})
    row = DemandOutlook.objects.get()
    assert answer["Location"].endswith(f"/{row.pk}/change/")
    assert admin_client.get(page("demandoutlook_state", row.pk)).json() == {"waiting": True}
    again = admin_client.post(page("demandoutlook_ask"), {"weeks": "2"})
    assert (again["Location"], DemandOutlook.objects.count()) == (answer["Location"], 1)
    outlooks.work(row.pk)
    shown = admin_client.get(answer["Location"]).content.decode()
    for words in ("Teddy (T1)", "Ordered within 4 weeks", "missed by", "8 of 10 times", "not seasons"):
        assert words in shown, words
    newer = worked(2)
    assert list(DemandOutlook.objects.all()) == [newer]


@pytest.mark.parametrize("weeks", ["", "3", "-1", "x", "²", "9" * 400])
def test_another_number_of_weeks_is_refused(admin_client, weeks):
    answer = admin_client.post(page("demandoutlook_ask"), {"weeks": weeks}, follow=True)
    assert "Choose how many weeks" in answer.content.decode()
    assert not DemandOutlook.objects.exists()


def test_advice_is_given_only_outside_the_range_and_only_when_it_was_closer():
    advice = outlooks._advice
    assert [advice(10, 20, 11, 30), advice(10, 5, 2, 9), advice(10, 12, 8, 15)] == ["stock_up", "clear", ""]
    check = {"error": 0.3, "plain_error": 0.2, "closer": 1, "inside": 0.8, "days": ["x"] * 4, "better": False}
    assert "go by the last weeks" in outlook_page._check(check)[-1]


def test_the_rest_door_starts_and_reads_it(shop, client):
    api = api_world.Api(client, api_world.token())
    started = api.post("/api/outlooks/", {"weeks": 2})
    assert (started.status_code, started.json()["state"]) == (202, "queued")
    outlooks.work(started.json()["id"])
    read = api.get(f"/api/outlooks/{started.json()['id']}/").json()
    assert (read["state"], read["result"]["products"]["rows"][0]["number"]) == ("done", "T1")
    assert "result" not in api.get("/api/outlooks/").json()["results"][0]
    refused = api.post("/api/outlooks/", {"weeks": 3})
    assert refused.status_code == 400
