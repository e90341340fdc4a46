"""The work list, reviews and priorities set by hand, as an agent uses them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from segmentation import decisions
from segmentation.models import (
    Customer,
    PriorityOverride,
    PriorityReview,
    ServicePriority,
    ServicePriorityRule,
)
from tests.segmentation.admin import world
from tests.segmentation.admin.test_campaigns import html
from tests.segmentation.admin.world import page
from tests.segmentation.decisions import shop

AT = datetime(2024, 6, 1, 12, tzinfo=UTC)


def work(count: int = 3) -> list[ServicePriority]:
    rule, _ = ServicePriorityRule.objects.get_or_create(
        position=1,
        defaults={"name": "VIP", "level": 4, "segment": world.segment(), "handling": "Call", "owner": "Ada"},
    )
    gives = world.offer("A gift")
    return [
        ServicePriority.objects.create(
            customer=world.customer(current_offer=gives), rule=rule, level=2 + number % 3,
            since=AT + timedelta(hours=number), respond_by=AT,
        )
        for number in range(count)
    ]  # fmt: skip


def test_the_most_urgent_and_the_longest_waiting_come_first(admin_client):
    rows = work(6)
    shown = [row.pk for row in admin_client.get(page("servicepriority_changelist")).context["cl"].result_list]
    assert shown == [rows[n].pk for n in (2, 5, 1, 4, 0, 3)]
    text = html(admin_client.get(page("servicepriority_changelist")))
    assert all(word in text for word in ("VIP", "Call", "Ada", "A gift", "Urgent"))


def test_the_list_takes_the_same_queries_however_long_it_is(admin_client):
    counts = []
    for _round in range(2):
        work(4)
        admin_client.get(page("servicepriority_changelist"))
        with CaptureQueriesContext(connection) as asked:
            admin_client.get(page("servicepriority_changelist"))
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 9
    assert not [query for query in asked if "COUNT(*)" in query["sql"] and "LIMIT" not in query["sql"]]


def test_what_is_handled_leaves_the_list(client):
    agent = world.person("Service agent")
    client.force_login(agent)
    first, *_ = work(2)
    client.post(page("servicepriority_handled", first.pk))
    first.refresh_from_db()
    assert first.handled_by == agent
    open_ = client.get(page("servicepriority_changelist")).context["cl"].result_list
    assert first not in list(open_)
    done = client.get(page("servicepriority_changelist") + "?work=handled").context["cl"].result_list
    assert list(done) == [first]


def test_a_viewer_handles_nothing(client):
    client.force_login(world.person("Auditor"))
    first, *_ = work(1)
    assert client.post(page("servicepriority_handled", first.pk)).status_code == 403
    first.refresh_from_db()
    assert first.handled_at is None


def test_a_priority_is_set_by_hand_and_given_back(client):
    client.force_login(world.person("Service agent"))
    eva = world.customer("K-1")
    until = (timezone.now() + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    client.post(page("customer_priority", eva.pk), {"level": 4, "reason": "press", "until": until})
    assert PriorityOverride.objects.get().reason == "press"
    assert "press" in html(client.get(page("customer_change", eva.pk)))
    for bad, says in (
        ({"reason": ""}, "Give a reason"),
        ({"until": "2001-01-01T00:00"}, "past"),
        ({"until": "x"}, "looks like"),
    ):
        given = {"level": 4, "reason": "x", "until": until, **bad}
        assert says in html(client.post(page("customer_priority", eva.pk), given, follow=True))
    client.post(page("customer_priority", eva.pk), {"end": "1"})
    assert PriorityOverride.objects.get().ended_at is not None


def test_a_review_is_answered_by_whoever_may(client):
    client.force_login(world.person("Campaign manager"))
    rule = ServicePriorityRule.objects.create(position=1, name="Leaving", level=1, segment=world.segment())
    row = PriorityReview.objects.create(customer=world.customer(), rule=rule, level=1, otherwise=2)
    button = f'formaction="{page("priorityreview_approve", row.pk)}"'
    for address in (page("priorityreview_changelist"), page("priorityreview_change", row.pk)):
        told = client.get(address).content.decode()
        assert "<button" in told[: told.index(button)][-60:], address
    client.force_login(world.person("Auditor"))
    for address in (page("priorityreview_changelist"), page("priorityreview_change", row.pk)):
        assert button not in client.get(address).content.decode()
    client.force_login(world.person("Campaign manager"))
    client.post(page("priorityreview_approve", row.pk))
    row.refresh_from_db()
    assert (row.state, row.decided_by.is_authenticated) == ("approved", True)


def test_why_not_names_the_condition_and_the_value(admin_client):
    from segmentation import targets

    targets.install()
    made = shop.campaign("rewards", (shop.FREQUENT, shop.offer("gift")))
    shop.run({"orders": 1.0})
    text = html(admin_client.get(page("customer_why", 1) + f"?campaign={made.pk}"))
    assert "Why not" in text
    assert "Orders in 90 days is 1, needs at least 3" in text
    assert admin_client.get(page("customer_why", 1) + "?campaign=x").status_code == 404


def test_a_campaign_that_was_never_decided_is_judged_now(admin_client):
    from segmentation import targets

    targets.install()
    draft = shop.campaign("draft", (shop.FREQUENT, shop.offer("gift")), start=False)
    shop.run({"orders": 4.0})
    text = html(admin_client.get(page("customer_why", 1) + f"?campaign={draft.pk}"))
    assert "not classified" in text
    assert decisions.why(Customer.objects.get(pk=1), draft).decided_at is None
