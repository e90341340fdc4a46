"""What one vendor alone does: costs and throttling, properties that do not exist, batches that are refused as a whole."""

from __future__ import annotations

import pytest

from crm_integration import fetching, outbox
from crm_integration.adapters import hubspot_push, mautic_push, segment_push, shopify_push
from crm_integration.adapters.pushing import How, Names, Values, Write
from crm_integration.http import DeliveryError
from segmentation.models import Alert
from tests.crm_integration import fake_vendor
from tests.crm_integration.pushing.helpers import decide, member, people
from tests.crm_integration.pushing.kinds import KINDS, OURS

pytestmark = pytest.mark.django_db


def only(*slugs):
    return pytest.mark.parametrize(
        "kind", [kind for kind in KINDS if kind.slug in slugs], ids=lambda kind: kind.slug, indirect=True
    )


def write(key, reference=None, **fields):
    return Write(
        key=key, message_id=f"m-{key}", reference=str(reference or key), fields=fields, values=Values(fields)
    )


@only("shopify")
def test_shopify_is_asked_for_no_more_than_its_bucket_holds(kind, crm_api, row):
    crm_api.most = crm_api.bucket = 150
    crm_api.restore = 100
    decide(*people(kind, crm_api, 12, tier="high"))
    assert {person["metafields"]["tierwise", "tier"] for person in crm_api.people.values()} == {"high"}
    throttled = [request for request in crm_api.asked if crm_api.throttle_next]
    assert not throttled
    assert len(crm_api.asked) == 3


@only("shopify")
def test_a_throttled_request_is_asked_again_when_the_bucket_has_refilled(kind, crm_api, row):
    crm_api.throttle_next = 1
    (message,) = decide(*people(kind, crm_api, 1, tier="high"))
    assert (message.state, len(crm_api.asked)) == ("done", 2)


@only("shopify")
def test_a_request_to_shopify_holds_five_customers_and_declares_what_it_uses(kind, crm_api, row):
    decide(*people(kind, crm_api, 7, tier="high"))
    assert [request.content["query"].count("metafieldsSet") for request in crm_api.asked] == [5, 2]
    variables = [pair for request in crm_api.asked for pair in request.content["variables"].items()]
    sizes = [len(value) for name, value in variables if name.startswith("set")]
    assert max(sizes) <= shopify_push.MOST_METAFIELDS


@only("shopify")
def test_a_missing_scope_stops_the_connection(kind, crm_api, row):
    error = {"message": "Access denied for tagsAdd field.", "extensions": {"code": "ACCESS_DENIED"}}
    crm_api.answer = lambda request: (200, {}, {"errors": [error], "data": None})
    decide(*people(kind, crm_api, 1))
    row.refresh_from_db()
    assert not row.sends_outbound
    assert "Access denied" in row.disabled_reason


@only("hubspot")
def test_an_unknown_property_of_hubspot_stops_the_connection_and_names_it(kind, crm_api, row):
    crm_api.properties.discard("tierwise_tier")
    (message,) = decide(*people(kind, crm_api, 1, tier="high"))
    row.refresh_from_db()
    assert not row.sends_outbound
    assert "tierwise_tier" in row.disabled_reason
    assert Alert.objects.filter(key=f"connection-stopped-{row.pk}").exists()
    test = outbox.stage_test(row)
    assert test.state == "queued"


@only("hubspot")
def test_a_test_message_says_which_properties_are_missing(kind, crm_api, row):
    crm_api.properties = OURS - {"tierwise_tier", "tierwise_churn"}
    message = outbox.stage_test(row)
    outbox.deliver(message.pk)
    row.refresh_from_db()
    assert "tierwise_tier, tierwise_churn" in row.disabled_reason


@only("hubspot")
def test_a_batch_that_hubspot_refuses_is_halved_until_the_one_is_found(kind, crm_api, row):
    made = people(kind, crm_api, 9, tier="high")
    for number in range(6):
        member(made[4], f"s{number:047}")
    messages = decide(*made)
    assert [message.state for message in messages].count("failed") == 1
    assert messages[4].state == "failed"
    assert len(crm_api.asked) <= 9


@only("hubspot")
def test_a_contact_that_hubspot_leaves_out_of_its_answer_is_gone(kind, crm_api, row):
    crm_api.missing_is_an_error = False
    made = people(kind, crm_api, 2)
    kind.remove(crm_api, "101")
    assert [message.state for message in decide(*made)] == ["cancelled", "done"]


@only("hubspot")
@pytest.mark.parametrize(("policy", "seconds"), [("TEN_SECONDLY_ROLLING", 10), ("SECONDLY", 1)])
def test_hubspots_short_limits_are_sat_out(kind, crm_api, row, policy, seconds):
    crm_api.busy = [(policy, 0)]
    (message,) = decide(*people(kind, crm_api, 1))
    assert (message.state, crm_api.waits) == ("done", [seconds])


def test_more_than_a_hundred_contacts_are_several_batches(settings, monkeypatch):
    kind = next(kind for kind in KINDS if kind.slug == "hubspot")
    with fake_vendor.running(kind.make()) as fake:
        settings.OUTBOUND_ALLOW = [fake.pair]
        fake.add(*range(1, 151))
        api = fetching.Api(fake.root, fetching.bearer("pat-1"), asked_wait=hubspot_push.asked_wait)
        outcomes = hubspot_push.push(api, [write(key, tierwise_tier="high") for key in range(1, 151)])
        assert {outcome.how for outcome in outcomes.values()} == {How.DONE}
        assert [len(request.content["inputs"]) for request in fake.asked] == [100, 50]
        fake.busy = [("DAILY", 0)]
        with pytest.raises(DeliveryError) as busy:
            hubspot_push.push(api, [write(1, tierwise_tier="low")])
        assert busy.value.retry_after.total_seconds() == 3600


def test_what_was_done_before_a_failure_stays_done(settings):
    """The second batch meets an error: the first is settled, the rest is for later."""
    kind = next(kind for kind in KINDS if kind.slug == "hubspot")
    with fake_vendor.running(kind.make()) as fake:
        settings.OUTBOUND_ALLOW = [fake.pair]
        fake.add(*range(1, 151))
        answer = fake.answer
        fake.answer = lambda request: answer(request) if len(fake.asked) == 1 else (502, {}, {})
        api = fetching.Api(fake.root, fetching.bearer("pat-1"))
        outcomes = hubspot_push.push(api, [write(key, tierwise_tier="high") for key in range(1, 151)])
        hows = [outcomes[key].how for key in range(1, 151)]
        assert hows == [How.DONE] * 100 + [How.LATER] * 50


def test_segments_limits_are_kept(settings):
    kind = next(kind for kind in KINDS if kind.slug == "segment")
    with fake_vendor.running(kind.make()) as fake:
        settings.OUTBOUND_ALLOW = [fake.pair]
        api = fetching.Api(fake.root, fetching.basic("key-1", ""))
        from django.utils import timezone

        writes = [write(key, tierwise_offer_text="x" * 14_000) for key in range(1, 60)]
        outcomes = segment_push.push(api, writes, now=timezone.now())
        assert {outcome.how for outcome in outcomes.values()} == {How.DONE}
        assert len(fake.asked) > 1
        assert max(request.size for request in fake.asked) <= 500_000
        segment_push.push(api, writes[:1], now=timezone.now())
        assert len(fake.events) == 2 * 59, "a repeat is known by its messageId"


@only("mautic")
def test_mautic_segments_of_the_same_name_are_joined_and_left(kind, crm_api, row):
    crm_api.segments = {"at-risk": set(), "their-own": {101}}
    row.push = {"segments": True}
    row.save()
    (one,) = people(kind, crm_api, 1, tier="high")
    member(one, "at-risk")
    member(one, "only-here")
    decide(one)
    assert crm_api.segments == {"at-risk": {101}, "their-own": {101}}
    from segmentation.models import Membership

    Membership.objects.filter(segment__slug="at-risk").delete()
    decide(one, version=2)
    assert crm_api.segments == {"at-risk": set(), "their-own": {101}}
    asked = len(crm_api.asked)
    outbox.stage_again(row, [one.pk])
    outbox.deliver_due()
    assert len(crm_api.asked) == asked


def test_mautic_would_drop_a_number_below_one(settings):
    """Why numbers are written as words there."""
    kind = next(kind for kind in KINDS if kind.slug == "mautic")
    with fake_vendor.running(kind.make()) as fake:
        settings.OUTBOUND_ALLOW = [fake.pair]
        fake.add(1)
        api = fetching.Api(fake.root, fetching.basic("api", "pass-1"))
        mautic_push.push(api, [write(1, tierwise_value="0.50")])
        assert "tierwise_value" not in fake.people[1]["fields"]
        mautic_push.push(api, [write(1, tierwise_value="0.50 GBP")])
        assert fake.people[1]["fields"]["tierwise_value"] == "0.50 GBP"


def test_names_know_their_own_tags():
    assert Names({}, tag_prefix="tierwise:").own(["vip", "Tierwise:old"]) == {"Tierwise:old"}
    assert Names({}).own(["tierwise:x"]) == frozenset()
