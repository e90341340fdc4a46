"""Decisions reach the vendor's records: the same cases for each vendor, against a fake that enforces its limits."""

from __future__ import annotations

import pytest
from django.utils import timezone

from crm_integration import outbox
from crm_integration.models import Connection, DeliveryAttempt, OutboundMessage, PushedRecord
from segmentation.models import AuditEntry, LeaseState
from tests.crm_integration.pushing.helpers import again, decide, member, offer, people, states
from tests.crm_integration.pushing.kinds import OUTPUTS

pytestmark = pytest.mark.django_db


def test_a_decision_is_written_under_the_default_names(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1, tier="high", churn_probability=0.08, future_value_minor=12345)
    member(one, "at-risk")
    (message,) = decide(one, offer=offer(), priority=3)
    held = kind.fields(crm_api, kind.reference(one, 101))
    outputs = {kind.name(output): output for output in OUTPUTS}
    held = {outputs[name]: value for name, value in held.items()}
    numbers = ("8 %", "123.45 GBP") if kind.slug == "mautic" else ("8", "123.45")
    assert (held["churn"], held["value"]) == numbers
    assert held | {"churn": "", "value": ""} == {
        "tier": "high", "segments": "at-risk", "churn": "", "value": "", "offer": "back", "offer_text": "15 % off",
        "offer_code": "BACK15", "offer_until": held["offer_until"], "priority": "high",
    }  # fmt: skip
    if kind.tags:
        before = {"vip"} if kind.slug == "shopify" else {"newsletter"}
        assert kind.tags_of(crm_api, "101") == before | {"tierwise:at-risk", "tierwise:tier-high"}
    assert (message.state, DeliveryAttempt.objects.get().error) == ("done", "")


def test_the_same_state_again_asks_the_crm_for_nothing(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1, tier="high")
    decide(one)
    asked = len(crm_api.asked)
    assert outbox.stage_again(row, [one.pk]) == 1
    outbox.deliver_due()
    assert len(crm_api.asked) == asked
    assert states() == [("c-0", "done")] * 2


def test_only_what_changed_is_written(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1, tier="high", churn_probability=0.82)
    decide(one)
    crm_api.asked.clear()
    one.tier = "low"
    one.save()
    decide(one, version=2, tier="low")
    wrote = str([request.content for request in crm_api.asked])
    assert kind.name("tier") in wrote
    if kind.slug != "segment":  # its event tells the whole state
        assert kind.name("churn") not in wrote
    assert kind.fields(crm_api, kind.reference(one, 101))[kind.name("tier")] == "low"
    if kind.tags:
        tags = kind.tags_of(crm_api, "101")
        assert "tierwise:tier-low" in tags
        assert "tierwise:tier-high" not in tags


def test_what_is_no_longer_true_is_emptied(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1, tier="high")
    decide(one, offer=offer())
    decide(one, version=2)
    held = kind.fields(crm_api, kind.reference(one, 101))
    assert kind.name("offer") not in held
    assert held[kind.name("tier")] == "high"


def test_many_customers_are_one_attempt(kind, crm_api, row):
    made = people(kind, crm_api, 12, tier="high")
    messages = decide(*made)
    assert {message.state for message in messages} == {"done"}
    assert len(crm_api.asked) == -(-12 // kind.at_once)
    references = [kind.reference(one, 101 + number) for number, one in enumerate(made)]
    assert {kind.fields(crm_api, key)[kind.name("tier")] for key in references} == {"high"}


def test_of_several_one_refused_and_one_gone_spoil_nothing(kind, crm_api, row):
    made = people(kind, crm_api, 4, tier="high")
    if kind.knows_absence:
        kind.remove(crm_api, "102")
    # Longer than this CRM takes; Segment takes up to 32 kB.
    length = 40_000 if kind.slug == "segment" else 300
    for number in range(length // 50):
        member(made[2], f"s{number:047}")
    decide(*made)
    gone = "cancelled" if kind.knows_absence else "done"
    assert states() == [("c-0", "done"), ("c-1", gone), ("c-2", "failed"), ("c-3", "done")]
    refused = OutboundMessage.objects.get(customer=made[2])
    assert refused.error
    row.refresh_from_db()
    assert (row.sends_outbound, row.failures, row.failing_since) == (True, 0, None)
    if kind.knows_absence:
        assert PushedRecord.objects.get(reference="102").gone_at is not None
        asked = len(crm_api.asked)
        decide(made[1], version=2, tier="low")
        assert len(crm_api.asked) == asked, "a record that is gone is not asked for again"


def test_a_dead_message_is_written_when_staff_send_it_again(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1, tier="high")
    (message,) = decide(one)
    OutboundMessage.objects.update(state=LeaseState.FAILED, error="refused")
    PushedRecord.objects.update(values={})
    outbox.redeliver(message)
    outbox.deliver_due()
    message.refresh_from_db()
    assert message.state == "done"
    assert AuditEntry.objects.filter(action="outbound.redelivered").exists()


def test_wrong_credentials_stop_the_connection_and_what_waits_stays(kind, crm_api, row):
    if kind.slug == "segment":
        pytest.skip("Segment answers 200 to a wrong write key")
    made = people(kind, crm_api, 2)
    row.api_credentials = row.api_credentials.replace("1", "2")
    row.save()
    decide(*made)
    row.refresh_from_db()
    assert not row.sends_outbound
    assert row.disabled_reason


def test_a_connection_without_credentials_says_so(kind, crm_api, row):
    Connection.objects.update(api_credentials="")
    decide(*people(kind, crm_api, 1))
    row.refresh_from_db()
    assert not row.sends_outbound
    assert "credentials" in row.disabled_reason
    assert not crm_api.asked


def test_a_lost_answer_is_made_up_for_and_changes_nothing_twice(kind, crm_api, row, monkeypatch):
    """The write arrives and its answer does not: what may stand there is written again."""
    (one,) = people(kind, crm_api, 1, tier="high")
    answer = crm_api.answer

    def lost(request):
        answer(request)
        return 502, {}, {}

    monkeypatch.setattr(crm_api, "answer", lost)
    (message,) = decide(one)
    assert (message.state, message.attempts) == ("queued", 1)
    assert PushedRecord.objects.get().attempted is not None
    monkeypatch.setattr(crm_api, "answer", answer)
    one.tier = "low"
    one.save()
    decide(one, version=2)
    again()
    assert states() == [("c-0", "cancelled"), ("c-0", "done")]
    assert kind.fields(crm_api, kind.reference(one, 101))[kind.name("tier")] == "low"
    record = PushedRecord.objects.get()
    assert (record.attempted, record.values["fields"][kind.name("tier")]) == (None, "low")
    if kind.tags:
        assert {tag for tag in kind.tags_of(crm_api, "101") if tag.startswith("tierwise:")} == {
            "tierwise:tier-low"
        }


def test_the_crms_own_way_of_being_too_busy_is_honoured(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1, tier="high")
    if kind.slug == "shopify":
        crm_api.bucket, crm_api.restore = (
            0,
            1,
        )  # it would take 30 seconds and more: longer than is sat out here
    elif kind.slug == "hubspot":
        crm_api.busy = [("DAILY", 0)]
    elif kind.slug == "segment":
        crm_api.busy = [120]
    else:
        crm_api.answers = {}
        answer, crm_api.answer = crm_api.answer, lambda request: (503, {"Retry-After": "120"}, {})
    (message,) = decide(one)
    row.refresh_from_db()
    assert message.state == "queued"
    wait = (message.run_after - timezone.now()).total_seconds()
    assert wait > {"shopify": 15, "hubspot": 3500}.get(kind.slug, 115)
    assert row.rests_until is not None, "whatever else waits for it is left alone as well"
    if kind.slug in {"woocommerce", "mautic", "espocrm"}:
        crm_api.answer = answer
    crm_api.bucket, crm_api.restore = 1000, 50
    again()
    message.refresh_from_db()
    assert message.state == "done"


def test_names_that_staff_chose_are_written_and_old_ones_emptied(kind, crm_api, row):
    (one,) = people(kind, crm_api, 1, tier="high")
    decide(one)
    name = "my_tier"
    if kind.slug == "hubspot":
        crm_api.properties.add(name)
    if kind.slug in {"mautic", "espocrm"}:
        crm_api.known.add(name)
    row.push = {"fields": {"tier": name, "churn": ""}, "tag_prefix": ""}
    row.save()
    outbox.stage_again(row, [one.pk])
    outbox.deliver_due()
    reference = kind.reference(one, 101)
    assert kind._all(crm_api, reference)[name] == "high"
    assert kind.name("tier") not in kind.fields(crm_api, reference)
    if kind.tags:
        assert not {tag for tag in kind.tags_of(crm_api, reference) if tag.startswith("tierwise:")}


def test_a_customer_whom_the_crm_does_not_know_is_left_out(kind, crm_api, row):
    from tests.crm_integration.pushing.helpers import person

    reference = "guest:abc" if kind.slug == "segment" else "c-9"
    one = person(9)
    one.reference = reference
    one.save()
    (message,) = decide(one)
    assert message.state == "cancelled"
    assert "no record" in message.error
    assert not crm_api.asked


def test_a_test_message_asks_for_something_small(kind, crm_api, row):
    message = outbox.stage_test(row)
    outbox.deliver(message.pk)
    message.refresh_from_db()
    assert message.state == "done"
    assert all(request.method == "GET" or request.path.endswith("graphql.json") for request in crm_api.asked)
