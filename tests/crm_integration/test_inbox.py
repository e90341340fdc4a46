from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from crm_integration import inbox
from crm_integration.adapters.base import Thin
from crm_integration.adapters.standard import StandardAdapter
from crm_integration.http import DeliveryError
from crm_integration.models import InboundMessage
from segmentation import contacts, event_store, leases
from segmentation.jobs import Job
from segmentation.models import AuditEntry, Consent, Customer, DueCustomer, Event, EventSource
from tests.crm_integration import fixtures
from tests.crm_integration.fixtures import deliver, envelope, order

pytestmark = pytest.mark.django_db


def receive(connection, content, *, key="msg_1"):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return inbox.receive(connection, dedupe_key=key, body=body, received_at=timezone.now()).message_id


def processed(connection, content, *, key="msg_1"):
    message_id = receive(connection, content, key=key)
    inbox.process(message_id)
    return InboundMessage.objects.get(pk=message_id)


def test_an_order_becomes_a_customer_an_event_and_a_customer_to_rescore(
    connection, client, nudges, django_capture_on_commit_callbacks
):
    message_id = deliver(client, connection, order(customer="c-1", amount="19.99")).json()["id"]
    with django_capture_on_commit_callbacks(execute=True):
        inbox.process(message_id)
    message = InboundMessage.objects.get()
    assert (message.state, message.outcome, message.topic, message.events_created) == (
        "done",
        "recorded",
        "order.placed",
        1,
    )
    event = Event.objects.get()
    assert (event.customer.reference, event.amount_minor, event.received_at) == (
        "c-1",
        1999,
        message.received_at,
    )
    assert DueCustomer.objects.get().customer == event.customer
    assert (Job.RESCORE_DUE, {}) in nudges


def test_events_of_a_connection_count_as_live(connection):
    first = processed(connection, order())
    processed(connection, order(customer="c-2"), key="msg_2")
    assert EventSource.objects.get(slug=connection.slug).live_since == first.received_at


def test_the_shops_own_ids_lead_to_the_customer_an_import_made(connection):
    known = Customer.objects.create(reference="c-1")
    processed(connection, order(customer="c-1"))
    assert Event.objects.get().customer == known


def test_the_same_order_in_another_message_is_known_already(connection):
    processed(connection, order(), key="a")
    again = processed(connection, order(), key="b")
    assert (again.outcome, again.events_created, again.detail["repeated"]) == ("nothing_new", 0, 1)
    assert Event.objects.count() == 1


def test_processing_twice_adds_nothing(connection):
    message = processed(connection, order())
    inbox.process(message.pk)
    assert Event.objects.count() == 1
    assert InboundMessage.objects.get().attempts == 1


def test_a_batch_keeps_the_good_and_names_the_bad(connection):
    entries = [order("o-1"), order("o-2", amount="free"), order("o-3"), order("o-4", currency="XXX")]
    message = processed(connection, envelope("events.batch", events=entries))
    assert (message.state, message.outcome, message.events_created) == ("done", "partly", 2)
    assert [found["item"] for found in message.detail["rejections"]] == [1, 3]
    assert "data.events[1].data.amount" in message.detail["rejections"][0]["reason"]
    assert "XXX" in message.detail["rejections"][1]["reason"]


def test_what_a_batch_says_twice_about_a_customer_is_all_kept_in_order(connection):
    entries = [
        envelope("customer.updated", reference="c-1", country="FR", first_name="Ada"),
        envelope("consent.changed", customer="c-1", purpose="marketing", status="denied"),
        envelope("customer.updated", reference="c-1", country="DE"),
    ]
    message = processed(connection, envelope("events.batch", events=entries))
    assert message.outcome == "recorded"
    assert Customer.objects.get().country == "DE"
    assert Consent.objects.get().status == "denied"


def test_a_message_with_nothing_but_bad_items_is_rejected_and_says_why(connection):
    message = processed(connection, order(amount=None))
    assert (message.state, message.outcome, message.detail["rejected"]) == ("done", "rejected", 1)
    assert not Event.objects.exists()
    assert not Customer.objects.exists()


def test_an_unknown_topic_is_kept_and_can_be_filtered(connection):
    message = processed(connection, envelope("loyalty.redeemed", points=5))
    assert (message.state, message.outcome, message.topic) == ("done", "unknown_topic", "loyalty.redeemed")
    assert message.body is not None


def test_a_ping_is_a_test(connection):
    assert processed(connection, {"type": "ping"}).outcome == "test"


def test_an_unreadable_body_is_quarantined_with_the_place_of_the_mistake(connection):
    message = processed(connection, b'{"type": "order.placed",\n "data": }')
    assert (message.state, message.outcome) == ("failed", "unreadable")
    assert "line 2" in message.error


def test_a_topic_with_a_nul_does_not_break_the_row(connection):
    assert processed(connection, b'{"type": "a\\u0000b"}').state in {"done", "failed"}


def test_a_quarantined_message_can_be_replayed_after_a_fix(
    connection, monkeypatch, django_user_model, nudges, django_capture_on_commit_callbacks
):
    from crm_integration.adapters.base import Unreadable

    def misunderstand(*args, **kwargs):
        raise Unreadable("not yet")

    with monkeypatch.context() as patch:
        patch.setattr(StandardAdapter, "parse", misunderstand)
        message = processed(connection, order())
    assert message.state == "failed"
    person = django_user_model.objects.create_user("ada")
    with django_capture_on_commit_callbacks(execute=True):
        inbox.replay(message, actor=person)
    assert nudges[-1] == (Job.PROCESS_INBOUND, {"message_id": message.pk})
    inbox.process(message.pk)
    message.refresh_from_db()
    assert (message.state, message.outcome, message.error) == ("done", "recorded", "")
    assert AuditEntry.objects.get(action="inbound.replayed").actor == person


def test_a_waiting_message_and_one_without_body_cannot_be_replayed(connection):
    message = InboundMessage.objects.get(pk=receive(connection, order()))
    with pytest.raises(inbox.NotReplayable):
        inbox.replay(message)
    inbox.process(message.pk)
    InboundMessage.objects.update(body=None)
    message.refresh_from_db()
    with pytest.raises(inbox.NotReplayable):
        inbox.replay(message)


def _break(monkeypatch, error):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr("segmentation.ingest.record_events", broken)
    monkeypatch.setattr("segmentation.ingest.record_messages", broken)


@pytest.mark.parametrize("error", [OperationalError("deadlock detected"), ValueError("a bug")])
def test_trouble_on_our_side_is_tried_again_later_and_leaves_nothing_half_written(
    connection, monkeypatch, error
):
    _break(monkeypatch, error)
    content = order(customer={"reference": "c-1", "country": "FR"})
    message = processed(connection, content)
    assert (message.state, message.attempts) == ("queued", 1)
    assert message.run_after > timezone.now()
    assert not Customer.objects.exists()
    assert "a bug" not in message.error


def test_after_the_last_attempt_a_message_is_parked_with_its_reason(connection, monkeypatch):
    _break(monkeypatch, OperationalError())
    message_id = receive(connection, order())
    for _attempt in range(inbox.MAX_ATTEMPTS):
        InboundMessage.objects.update(run_after=timezone.now() - timedelta(seconds=1))
        inbox.process(message_id)
    message = InboundMessage.objects.get()
    assert (message.state, message.attempts) == ("failed", inbox.MAX_ATTEMPTS)
    assert "OperationalError" in message.error


def test_a_worker_that_lost_its_claim_writes_nothing(connection, monkeypatch):
    """The claim runs out while parsing and another worker takes the message."""
    message_id = receive(connection, order())
    parse = StandardAdapter.parse

    def slow(self, body, *, message_key, topic):
        InboundMessage.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        leases.claim(InboundMessage.objects.all())
        return parse(self, body, message_key=message_key, topic=topic)

    monkeypatch.setattr(StandardAdapter, "parse", slow)
    inbox.process(message_id)
    assert not Event.objects.exists()
    assert InboundMessage.objects.get().state == "running"


def test_a_message_whose_worker_died_is_found_and_finished(connection):
    message_id = receive(connection, order())
    leases.claim(InboundMessage.objects.all(), lease=timedelta(seconds=-1))
    assert inbox.due_ids() == [message_id]
    inbox.process(message_id)
    assert InboundMessage.objects.get().outcome == "recorded"


def test_due_are_only_messages_whose_nudge_is_late(connection):
    fresh = receive(connection, order(), key="fresh")
    late = receive(connection, order(), key="late")
    InboundMessage.objects.filter(pk=late).update(run_after=timezone.now() - timedelta(minutes=1))
    done = receive(connection, order(), key="done")
    inbox.process(done)
    assert inbox.due_ids() == [late]
    assert fresh not in inbox.due_ids()


# --- whatever is due
def test_a_backlog_is_worked_off_at_one_nudge(connection):
    for number in range(5):
        receive(connection, order(f"o-{number}"), key=f"msg_{number}")
    assert inbox.process_due() == 5
    assert Event.objects.count() == 5
    assert inbox.process_due() == 0


def test_when_time_is_up_the_rest_is_nudged_again(connection, nudges, django_capture_on_commit_callbacks):
    receive(connection, order())
    with django_capture_on_commit_callbacks(execute=True):
        assert inbox.process_due(seconds=0) == 0
    assert nudges[-1] == (Job.PROCESS_INBOUND, {})


def test_when_time_is_up_and_nothing_is_left_nobody_is_nudged(nudges, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        assert inbox.process_due(seconds=0) == 0
    assert nudges == []


def test_a_message_that_kills_its_workers_is_parked_without_those_of_its_batch(connection, monkeypatch):
    poison = receive(connection, order("poison"), key="poison")
    for number in range(3):
        receive(connection, order(f"o-{number}"), key=f"msg_{number}")
    parse = StandardAdapter.parse

    def deadly(self, body, *, message_key, topic):
        if message_key == "poison":
            raise SystemExit  # as a killed process: nothing after it runs
        return parse(self, body, message_key=message_key, topic=topic)

    monkeypatch.setattr(StandardAdapter, "parse", deadly)
    for _worker in range(inbox.MAX_ATTEMPTS):
        with pytest.raises(SystemExit):
            inbox.process_due()
        InboundMessage.objects.filter(state="running").update(
            lease_until=timezone.now() - timedelta(seconds=1)
        )
    inbox.process_due()
    parked = InboundMessage.objects.get(pk=poison)
    assert (parked.state, parked.attempts) == ("failed", inbox.MAX_ATTEMPTS)
    others = InboundMessage.objects.exclude(pk=poison)
    assert set(others.values_list("state", "attempts")) == {("done", 2)}


def test_the_oldest_comes_first_whether_it_was_tried_or_not(connection, monkeypatch):
    """Whatever keeps coming in holds up no retry, and no claim runs out behind other work."""
    ages = {"fresh": 20, "retry": 30, "fresh too": 10}
    for key, age in ages.items():
        InboundMessage.objects.filter(pk=receive(connection, order(key), key=key)).update(
            run_after=timezone.now() - timedelta(seconds=age), attempts=int(key == "retry")
        )
    turns = []

    def looked_at(messages, **options):
        running = InboundMessage.objects.filter(state="running").values_list("dedupe_key", flat=True)
        turns.append(list(running.order_by("run_after")))
        return process(messages, **options)

    process = inbox._process
    monkeypatch.setattr(inbox, "_process", looked_at)
    assert inbox.process_due() == 3
    assert turns == [["retry"], ["fresh", "fresh too"]]


def test_one_that_is_parked_holds_up_nobody(connection):
    parked = receive(connection, order("parked"), key="parked")
    InboundMessage.objects.filter(pk=parked).update(
        state="running",
        attempts=inbox.MAX_ATTEMPTS,
        run_after=timezone.now() - timedelta(seconds=60),
        lease_until=timezone.now() - timedelta(seconds=1),
    )
    receive(connection, order("o-1"), key="fresh")
    assert inbox.process_due() == 1
    assert dict(InboundMessage.objects.values_list("dedupe_key", "state")) == {
        "parked": "failed",
        "fresh": "done",
    }


def test_of_messages_stored_together_the_first_word_about_somebody_counts(connection):
    told = [
        ("c-1", "web", "a@example.org"),
        ("c-2", "store", "b@example.org"),
        ("c-2", "web", "c@example.org"),
    ]
    for number, (customer, channel, email) in enumerate(told):
        receive(connection, order(f"o-{number}", customer, channel=channel, email=email), key=f"msg_{number}")
    inbox.process_due()
    assert dict(Customer.objects.values_list("reference", "channel")) == {"c-1": "web", "c-2": "store"}
    assert contacts.read(Customer.objects.get(reference="c-2")).email == "b@example.org"


def test_a_backlog_is_stored_together_and_says_of_each_message_what_came_of_it(
    connection, django_assert_max_num_queries
):
    receive(connection, order("o-1", customer="c-1"), key="first")
    receive(connection, order("o-1", customer="c-1"), key="again")
    receive(connection, order("o-2", currency="XXX"), key="no rate")
    receive(connection, b"{", key="unreadable")
    receive(connection, order(customer={"reference": "c-2", "country": "FR"}), key="a profile")
    for number in range(30):
        receive(connection, order(f"n-{number}", customer=f"n-{number}"), key=f"msg_{number}")
    with django_assert_max_num_queries(120):
        assert inbox.process_due() == 35
    found = {row.dedupe_key: row for row in InboundMessage.objects.all()}
    assert [found[key].outcome for key in ("first", "again", "no rate", "unreadable", "a profile")] == [
        "recorded",
        "nothing_new",
        "rejected",
        "unreadable",
        "recorded",
    ]
    assert found["no rate"].detail["rejections"][0]["item"] == 0
    assert {found[f"msg_{number}"].events_created for number in range(30)} == {1}
    customer = Customer.objects.get(reference="c-1")
    assert found["first"].detail["customer_ids"] == [customer.pk]
    assert not found["again"].detail["customer_ids"]
    assert set(InboundMessage.objects.exclude(outcome="unreadable").values_list("state", flat=True)) == {
        "done"
    }
    event = Event.objects.get(customer=customer)
    assert event.received_at == found["first"].received_at


def test_one_bad_message_spoils_nothing_of_its_batch(connection, monkeypatch):
    for number in range(4):
        receive(connection, order(f"o-{number}"), key=f"msg_{number}")
    record = event_store.add

    def fails_for_one(drafts, **given):
        if any("o-2" in draft.event.source_key for draft in drafts):
            raise ValueError("a bug")
        return record(drafts, **given)

    monkeypatch.setattr(event_store, "add", fails_for_one)
    inbox.process_due()
    states = dict(InboundMessage.objects.values_list("dedupe_key", "state"))
    assert states == {"msg_0": "done", "msg_1": "done", "msg_2": "queued", "msg_3": "done"}
    assert Event.objects.count() == 3


def test_of_a_batch_only_what_is_still_claimed_is_stored(connection, monkeypatch):
    taken = receive(connection, order("taken"), key="taken")
    receive(connection, order("kept"), key="kept")
    receive(connection, order("kept too"), key="kept too")
    guarded = leases.guarded

    def late(rows):
        InboundMessage.objects.filter(pk=taken).update(fence=9)
        return guarded(rows)

    monkeypatch.setattr(leases, "guarded", late)
    inbox.process_due()
    assert Event.objects.count() == 2
    assert InboundMessage.objects.get(pk=taken).state == "running"


def test_a_connection_whose_records_cannot_be_fetched_rests_and_does_not_slow_the_others(
    connection, monkeypatch
):
    away, asked = fixtures.connection("away"), []
    parse = StandardAdapter.parse

    def thin(self, body, *, message_key, topic):
        parsed = parse(self, body, message_key=message_key, topic=topic)
        return replace(parsed, thin=(Thin(0, "order", "1"),)) if b"a-" in body else parsed

    def hydrate(self, parsed, row):
        if row == away:
            asked.append(row)
            raise DeliveryError("no answer")
        return parsed

    monkeypatch.setattr(StandardAdapter, "parse", thin)
    monkeypatch.setattr(StandardAdapter, "hydrate", hydrate)
    for number in range(3):
        receive(away, order(f"a-{number}"), key=f"msg_{number}")
        receive(connection, order(f"o-{number}"), key=f"msg_{number}")
    inbox.process_due()
    assert len(asked) == 1
    assert Event.objects.count() == 3
    assert InboundMessage.objects.filter(connection=away, attempts=0, state="queued").count() == 2


def test_when_the_database_is_away_the_sender_is_asked_to_come_back(client, connection, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("connection refused")

    monkeypatch.setattr("crm_integration.connections.receiving", away)
    monkeypatch.setattr("crm_integration.storing.store_once", away)
    answer = deliver(client, connection, order())
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


def test_a_body_that_breaks_off_is_a_bad_request(rf, connection):
    from crm_integration.views import receive_webhook

    class Broken:
        def read(self, *args):
            raise OSError("connection reset")

    request = rf.post(f"/hooks/{connection.slug}/", data=b"x", content_type="application/json")
    request._stream = Broken()
    answer = receive_webhook(request, slug=connection.slug)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("length", "status"), [("-1", 400), ("abc", 400), ("9" * 30, 413), ("", 401), ("0", 401)]
)
def test_a_length_that_lies_is_refused(client, connection, length, status):
    answer = client.generic("POST", f"/hooks/{connection.slug}/", b"{}", CONTENT_LENGTH=length)
    assert answer.status_code == status
    assert not InboundMessage.objects.exists()


def test_receiving_asks_the_database_little(client, connection, django_assert_max_num_queries):
    with django_assert_max_num_queries(4):
        assert deliver(client, connection, order()).status_code == 202
