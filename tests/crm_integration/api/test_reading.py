"""What the door shows: filters, pages that hold still, a bounded number of queries, ETags, the next action."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from segmentation import contacts, identities, targets
from segmentation.jobs import Job
from segmentation.models import (
    AuditEntry,
    Customer,
    Decision,
    DueCustomer,
    Membership,
    PastMembership,
    Score,
    Segment,
    Shop,
)
from tests.crm_integration.api import world
from tests.segmentation.admin import world as console
from tests.segmentation.decisions import shop as deciding

pytestmark = pytest.mark.django_db

# Queries of a page however many rows it shows: two for the token, then what is named.
QUERIES = {
    "api_customers": 5,  # customers, tiers that staff set, shop
    "api_customer_events": 6,  # customer, who was merged into them, events, shop
    "api_scores": 3,
    "api_decisions": 3,
    "api_service_priorities": 3,
    "api_segments": 3,
    "api_members": 4,  # segment
    "api_offers": 4,  # shop
    "api_products": 3,
    "api_trainings": 5,  # targets, versions
    "api_classifications": 3,
    "api_estimates": 3,
    "api_imports": 3,
    "api_models": 6,  # targets, slots and theirs
    "api_deliveries": 3,
    # of one thing
    "api_customer": 8,  # customer, tiers that staff set, merges, consents, shop, segments
    "api_next_action": 14,  # as much, what they were given, and what rules can ask about
    "api_why": 8,  # what rules can ask about, categories among it
    "api_customer_scores": 9,
    "api_decision": 7,  # what rules can ask about, categories among it
}


def more_of_everything():
    """A second round of rows for every list."""
    segment = Segment.objects.get()
    served = console.version(2)
    console.champion(served, "churn")
    for buyer in world.crowd(6):
        Score.objects.create(customer=buyer, target=served.targets.get(), version=served, as_of=console.AS_OF)
    console.history(Customer.objects.get(reference="K-100"), 6)
    for number in range(5):
        console.offer(f"Offer {number}")
        console.segment(f"Segment {number}")
    return segment


@pytest.mark.parametrize("name", QUERIES)
def test_a_page_takes_the_same_few_queries_however_many_rows_it_has(api, name):
    rows = world.filled()
    address = reverse(name, args=rows.get(name))
    api.get(address)  # rules in force are read once a process
    with CaptureQueriesContext(database) as few:
        assert api.get(address).status_code == 200
    more_of_everything()
    with CaptureQueriesContext(database) as many:
        assert api.get(address).status_code == 200
    told = "\n".join(query["sql"] for query in many.captured_queries)
    # PostgreSQL gives consents by COPY, which is not counted here.
    wanted = QUERIES[name] - (database.vendor == "postgresql" and name == "api_customer")
    assert (len(few), len(many)) == (wanted, wanted), told


# --- pages
def test_pages_miss_nobody_and_repeat_nobody_while_customers_come_and_go(api):
    people = console.customers(25)
    seen, answer = [], api.get("/api/customers/", limit=10)
    while True:
        seen += [row["reference"] for row in answer.json()["results"]]
        console.customers(3)
        Customer.objects.filter(reference=seen[0]).update(merged_into=people[-1])
        if len(seen) >= 25:
            break
        answer = api.client.get(answer.json()["next"], headers=world.bearer(api.text))
    assert len(set(seen)) == len(seen)
    assert set(seen) >= {person.reference for person in people}


def test_events_of_one_moment_are_told_apart(api):
    person = console.customer("C-1")
    for _ in range(7):
        console.order(person)
    first = api.get("/api/customers/C-1/events/", limit=3).json()
    console.order(person, at=console.AT + timedelta(days=1))  # newer: before the first page
    rest, answer = [], first
    while answer["next"]:
        answer = api.client.get(answer["next"], headers=world.bearer(api.text)).json()
        rest += answer["results"]
    ids = [row["id"] for row in first["results"] + rest]
    assert len(set(ids)) == len(ids) == 7


def test_filters_stay_on_the_next_page(api):
    console.customers(5, tier="high")
    console.customers(5, tier="low")
    assert {row["tier"] for row in api.pages("/api/customers/", tier="high", limit=2)} == {"high"}
    assert len(api.pages("/api/customers/", tier="high", limit=2)) == 5


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "W10",
        "WzFd",
        "bnVsbA",
        "WyJhIl0",
        "WzFlMzBd",
        "W251bGxd",
        "WzEsMl0",
        "é",
        "WzkyMjMzNzIwMzY4NTQ3NzU4MDhd",
    ],
)
@pytest.mark.parametrize("path", ["/api/customers/", "/api/service-priorities/"])
def test_a_cursor_that_was_not_given_is_refused_or_harmless(api, path, cursor):
    answer = api.get(path, cursor=cursor)
    assert answer.status_code == (200 if (path, cursor) == ("/api/customers/", "WzFd") else 400)


# --- who was in a segment
def test_who_was_in_a_segment_on_a_day_page_by_page(api):
    segment = console.segment()
    people = console.customers(6)
    shop_day = timezone.now().astimezone(Shop.get().zone).replace(hour=12)
    for number, person in enumerate(people[:3]):  # still in, since 2, 4 and 6 days
        entered = shop_day - timedelta(days=2 * (number + 1))
        Membership.objects.create(segment=segment, customer=person, entered_at=entered)
    for number, person in enumerate(people[3:]):  # in from the 9th day back, until 8, 5 and 1 days back
        left = shop_day - timedelta(days=(8, 5, 1)[number])
        PastMembership.objects.create(
            segment=segment, customer=person, entered_at=shop_day - timedelta(days=9), entered_by=1,
            left_at=left, left_by=1,
        )  # fmt: skip

    def on(days):
        day = (shop_day - timedelta(days=days)).date().isoformat()
        rows = api.pages(f"/api/segments/{segment.slug}/members/", on=day, limit=2)
        assert [row["customer"] for row in rows] == sorted(row["customer"] for row in rows)
        return {row["customer"]: row["left_at"] is None for row in rows}

    names = [person.reference for person in people]
    assert on(10) == {}
    assert on(9) == dict.fromkeys(names[3:], False)
    assert on(8) == dict.fromkeys(names[4:], False)
    assert on(5) == {names[2]: True, names[5]: False}
    assert on(0) == dict.fromkeys(names[:3], True)


@pytest.mark.parametrize(
    "query",
    [
        {"on": "9999-12-31"}, {"on": "0001-01-01"}, {"on": "yesterday"},
        {"on": "2026-03-01", "entered_since": "2026-03-01T00:00:00Z"},
        {"on": "2026-03-01", "cursor": "WyJhIl0"}, {"on": "2026-03-01", "cursor": "WzEsMl0"},
    ],
)  # fmt: skip
def test_a_day_that_cannot_be_answered_is_refused(api, query):
    segment = console.segment()
    assert api.get(f"/api/segments/{segment.slug}/members/", **query).status_code == 400


def test_who_was_in_a_segment_takes_the_same_few_queries_however_many_were(api):
    segment = console.segment()
    address = f"/api/segments/{segment.slug}/members/"
    today = timezone.now().astimezone(Shop.get().zone).date().isoformat()
    api.get(address, on=today)  # what is read once a process
    asked = []
    for number in range(2):
        for person in console.customers(5):
            Membership.objects.create(segment=segment, customer=person)
        with CaptureQueriesContext(database) as queries:
            found = api.get(address, on=today)
        assert len(found.json()["results"]) == 5 * (number + 1)
        asked.append(len(queries))
    assert asked[0] == asked[1]


# --- filters
def test_customers_are_filtered_by_tier_segment_priority_and_reference(api):
    french = console.segment()
    console.customer("a", tier="high", priority=4, segments=[french])
    console.customer("b", tier="low", priority=2)
    console.customer("c/d", tier="low", priority=4)

    def found(**query):
        return [row["reference"] for row in api.get("/api/customers/", **query).json()["results"]]

    assert found() == ["a", "b", "c/d"]
    assert found(tier="low") == ["b", "c/d"]
    assert found(segment=french.slug) == ["a"]
    assert found(priority="urgent") == ["a", "c/d"]
    assert found(priority="urgent", tier="low") == ["c/d"]
    assert found(reference="c/d") == ["c/d"]
    assert api.get("/api/customers/c%2Fd/").json()["reference"] == "c/d"


def test_updated_since_finds_the_decided_and_those_who_changed_tier_or_segment(api):
    now = timezone.now()
    decided, moved, came, regraded, quiet = console.customers(5)
    Decision.objects.filter(pk=world.decided(decided).pk).update(decided_at=now)
    Decision.objects.filter(pk=world.decided(quiet).pk).update(decided_at=now - timedelta(days=2))
    segment = console.segment()
    was = {"entered_at": now - timedelta(days=9), "entered_by": 1}
    PastMembership.objects.create(segment=segment, customer=moved, left_at=now, left_by=1, **was)
    Membership.objects.create(segment=segment, customer=came, entered_at=now)
    Membership.objects.create(segment=segment, customer=quiet, **was)
    Customer.objects.filter(pk=regraded.pk).update(tier_changed_at=now)
    Customer.objects.filter(pk=quiet.pk).update(tier_changed_at=now - timedelta(days=2))
    rows = api.get("/api/customers/", updated_since=(now - timedelta(hours=1)).isoformat()).json()["results"]
    found = {row["reference"] for row in rows}
    assert found == {one.reference for one in (decided, moved, came, regraded)}
    since = api.get("/api/decisions/", decided_since=(now - timedelta(hours=1)).isoformat()).json()["results"]
    assert [row["customer"] for row in since] == [decided.reference]


@pytest.mark.parametrize(
    "query",
    [{"teir": "high"}, {"limit": "0"}, {"limit": "501"}, {"limit": "x"}, {"priority": "9"}, {"updated_since": "soon"},
     {"tier": "a\x00b"}, {"segment": "no slug!"}, {"tier": "x" * 33}],
    ids=str,
)  # fmt: skip
def test_a_filter_that_is_not_understood_is_refused_by_name(api, query):
    answer = api.get("/api/customers/", **query)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == list(query)


# --- single customers
def test_a_merged_customer_answers_under_every_name(api):
    old, new = console.customer("old"), console.customer("new")
    console.order(old)
    identities.merge(new, old)
    assert api.get("/api/customers/old/").json()["reference"] == "new"
    assert api.get("/api/customers/old/next-action/").json()["customer"] == {"reference": "new"}
    assert len(api.get("/api/customers/new/events/").json()["results"]) == 1
    assert [row["reference"] for row in api.get("/api/customers/").json()["results"]] == ["new"]


@pytest.mark.parametrize("path", ["", "next-action/", "events/", "scores/", "contact/"])
@pytest.mark.parametrize("reference", ["nobody", "%00", "x" * 200])
def test_a_stranger_is_not_found(api, path, reference):
    answer = api.get(f"/api/customers/{reference}/{path}")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_the_next_action_says_what_why_and_how_fresh(api):
    targets.install()
    gift = deciding.offer("tea")
    deciding.campaign("loyal", (deciding.FREQUENT, gift))
    deciding.priority(1, deciding.LEAVING, 4)
    deciding.run({"orders": 5.0, "churn": 0.9})
    Customer.objects.update(tier="high", churn_probability=0.9, input_version=1, scored_version=1)
    told = api.get("/api/customers/c1/next-action/").json()
    assert (told["tier"], told["tier_name"]) == ("high", "High value")
    assert told["offer"]["slug"] == "tea"
    assert told["campaign"]["slug"] == "loyal"
    assert told["service_priority"]["level"] == 4
    assert told["why"]["offer"][0] == "Gets “Tea” from the campaign “Loyal”."
    assert len(told["why"]["offer"]) > 1
    assert "Rule 1" in told["why"]["priority"][0]
    assert told["freshness"]["is_current"] is True
    assert told["freshness"]["is_waiting"] is False
    decision = api.get(f"/api/decisions/{told['decision_id']}/").json()
    assert decision["reasons"]["summary"] == [told["why"]["offer"][0], told["why"]["priority"][0]]
    assert [rule["verdict"] for rule in decision["reasons"]["offers"]] == ["won"]


def test_support_asks_why_not_of_one_campaign_or_of_all(api):
    targets.install()
    deciding.campaign("loyal", (deciding.FREQUENT, deciding.offer("tea")))
    deciding.campaign("other", (deciding.LEAVING, deciding.offer("cake")))
    deciding.run({"orders": 1.0})
    every = api.get("/api/customers/c1/why/").json()
    assert [rule["verdict"] for rule in every["offers"]] == ["rule_false", "rule_false"]
    told = api.get("/api/customers/c1/why/?campaign=loyal").json()
    assert (told["gets"], told["summary"]) == (False, ["Does not get it."])
    assert "Orders in 90 days is 1, needs at least 3" in told["offers"][0]["reasons"]
    deciding.campaign("draft", (deciding.FREQUENT, deciding.offer("nuts")), start=False)
    assert api.get("/api/customers/c1/why/?campaign=draft").json()["decided_at"] is None
    assert api.get("/api/customers/c1/why/?campaign=none").status_code == 404
    assert api.get("/api/customers/c1/why/?campain=loyal").status_code == 400


def test_whoever_has_news_waiting_is_told_to_be_waiting(api):
    person = console.customer("C-1", input_version=2, scored_version=1)
    DueCustomer.objects.create(customer=person)
    fresh = api.get("/api/customers/C-1/next-action/").json()["freshness"]
    assert (fresh["is_current"], fresh["is_waiting"], fresh["decided_at"]) == (False, True, None)


def test_a_customer_about_whom_nothing_was_decided_has_an_answer_too(api):
    console.customer("C-1", tier="", churn_probability=None, abstain_reason="no_orders")
    told = api.get("/api/customers/C-1/next-action/").json()
    assert (told["decision_id"], told["tier"], told["offer"]) == (None, None, None)
    assert told["freshness"]["why_no_score"] == "No score: no order yet."


def test_reasons_of_scores_are_asked_of_a_worker_once_they_are_wanted(
    api, nudges, django_capture_on_commit_callbacks
):
    world.filled()
    nudges.clear()
    with django_capture_on_commit_callbacks(execute=True):
        [score] = api.get("/api/customers/K-100/scores/").json()
    assert (score["reasons"], score["reasons_pending"]) == ([], True)
    assert [job for job, _ids in nudges] == [Job.EXPLAIN]
    shares = {"members": ["lightgbm"], "shares": [["recency_days", 0.4, 90.0]], "usual_gap_days": 30.0}
    Score.objects.update(reasons=shares)
    [score] = api.get("/api/customers/K-100/scores/").json()
    assert score["reasons"][0]["title"] == "Speaks for leaving"
    assert score["reasons"][0]["reasons"][0]["sentence"]
    assert score["reasons_pending"] is False


# --- contact data
def test_contact_data_is_given_to_its_scope_alone_and_every_look_is_written_down(client, caplog):
    person = console.customer("C-1")
    contacts.write(person, contacts.Contact(email="eva@example.com", first_name="Eva"))
    seer, other = (
        world.Api(client, world.token(scopes)) for scopes in (["contact:read"], world.ALL - {"contact:read"})
    )
    answer = seer.get("/api/customers/C-1/contact/")
    assert answer.json()["email"] == "eva@example.com"
    assert answer["Cache-Control"] == "no-store"
    assert "ETag" not in answer
    assert seer.post("/api/customers/lookup/", {"email": " EVA@example.com"}).json() == {"reference": "C-1"}
    assert seer.post("/api/customers/lookup/", {"email": "no@example.com"}).status_code == 404
    looks = AuditEntry.objects.filter(action__in=["contact_read", "email_searched"]).order_by("pk")
    assert [entry.action for entry in looks] == ["contact_read", "email_searched", "email_searched"]
    assert all(entry.detail["token"] in seer.text for entry in looks)
    assert not any("@" in str(entry.detail) for entry in looks)
    assert "@" not in caplog.text
    for path in (
        "/api/customers/",
        "/api/customers/C-1/",
        "/api/customers/C-1/next-action/",
        "/api/decisions/",
    ):
        assert b"eva" not in other.get(path).content.lower()


# --- ETags
def test_an_answer_that_still_stands_is_not_sent_again(api):
    person = console.customer("C-1")
    first = api.get("/api/customers/C-1/next-action/")
    assert first["Cache-Control"] == "private, no-cache"
    assert {"authorization", "accept-language"} <= {name.strip().lower() for name in first["Vary"].split(",")}
    held = {"if-none-match": first["ETag"]}
    again = api.get("/api/customers/C-1/next-action/", headers=held)
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    Customer.objects.filter(pk=person.pk).update(tier="low")
    changed = api.get("/api/customers/C-1/next-action/", headers=held)
    assert (changed.status_code, changed.json()["tier"]) == (200, "low")
    assert changed["ETag"] != first["ETag"]


def test_an_etag_opens_nothing(api):
    held = {"if-none-match": "*"}
    console.customer("C-1")
    assert api.client.get("/api/customers/C-1/", headers=held).status_code == 401
    assert api.get("/api/customers/nobody/", headers=held).status_code == 404


# --- others
def test_deliveries_of_another_connection_are_not_shown(client):
    rows = world.filled()
    from tests.crm_integration import fixtures

    elsewhere = world.Api(client, world.token(["deliveries:read"], connection=fixtures.connection("other")))
    unbound = world.Api(client, world.token(["deliveries:read"]))
    [pk] = rows["api_delivery"]
    assert elsewhere.get("/api/deliveries/").json()["results"] == []
    assert elsewhere.get(f"/api/deliveries/{pk}/").status_code == 404
    assert unbound.get(f"/api/deliveries/{pk}/").json()["log"][0]["status_code"] == 500


def test_a_training_is_cancelled_once(api):
    rows = world.filled()
    [pk] = rows["api_training"]
    assert api.post(f"/api/trainings/{pk}/cancel/").json()["cancel_requested"] is True
    [pk] = rows["api_classification"]
    assert api.post(f"/api/classifications/{pk}/cancel/").json()["state"] == "cancelled"
    assert api.post(f"/api/classifications/{pk}/cancel/").status_code == 409


def test_an_import_is_cancelled_once(api):
    [pk] = world.filled()["api_cancel_import"]
    told = api.post(f"/api/imports/{pk}/cancel/").json()
    assert (told["state"], told["cancel_requested"]) == ("cancelled", True)
    assert api.post(f"/api/imports/{pk}/cancel/").status_code == 409


def test_answers_speak_the_language_that_was_asked_for(api):
    world.filled()
    told = api.get("/api/customers/K-100/next-action/", headers={"accept-language": "zh-hans"}).json()
    assert told["tier_name"] == "高价值"


def test_times_are_in_utc(api):
    Shop.objects.update_or_create(pk=1, defaults={"time_zone": "Asia/Tokyo"})
    console.customer("C-1", last_order_at=datetime(2024, 5, 1, 12, tzinfo=UTC))
    assert api.get("/api/customers/C-1/").json()["last_order_at"] == "2024-05-01T12:00:00Z"
