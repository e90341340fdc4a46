"""What another choice would have brought: from a campaign's own decisions to the panel, against a known truth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.core.exceptions import ValidationError

from segmentation import bulk, estimates, holdouts
from segmentation.dashboard import estimate_page
from segmentation.estimates import logged
from segmentation.kinds import EventKind
from segmentation.models import (
    Campaign,
    CampaignRule,
    Customer,
    Event,
    EventSource,
    Grant,
    LeaseState,
    PolicyEstimate,
    Shop,
)
from tests.crm_integration.api import world as rest
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page
from tests.segmentation.decisions.shop import AS_OF, campaign, frame, offer, run
from tests.support.intervals import agrees

pytestmark = pytest.mark.django_db
PEOPLE = 700
# Draws hang on the campaign's number and on the salt of its holdout.
NUMBER, SALT = 7001, "salt"
EVERYBODY = {"field": "feature.orders_90d", "op": ">=", "value": 0}
FREQUENT = {"field": "feature.orders_90d", "op": ">=", "value": 3}
SELDOM = {"field": "feature.orders_90d", "op": "<", "value": 3}
# Chance of an order by (buys often, what they have).
BUYS = {
    (False, None): 0.1, (False, "ten"): 0.45, (False, "gift"): 0.15,
    (True, None): 0.4, (True, "ten"): 0.4, (True, "gift"): 0.8,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _the_same_draws(monkeypatch):
    monkeypatch.setattr(holdouts.secrets, "token_hex", lambda *_size: SALT)


def html(answer) -> str:
    return answer.content.decode()


def often(number: int) -> bool:
    return number % 2 == 0


def played(people: int = PEOPLE, **fields) -> Campaign:
    """A campaign that draws between two offers was decided for everybody, and they did what they do."""
    terms = {"choice": "sampling", "holdout_percent": 20, "pk": NUMBER, **fields}
    made = campaign("draws", (EVERYBODY, offer("ten")), (EVERYBODY, offer("gift", cost_minor=300)), **terms)
    run(*({"orders": 4.0 if often(number) else 1.0} for number in range(1, people + 1)))
    given = dict(Grant.objects.values_list("customer_id", "offer__slug"))
    rng = np.random.default_rng(1)
    luck = rng.random(people)
    buys = [n for n in range(1, people + 1) if luck[n - 1] < BUYS[often(n), given.get(n)]]
    orders(buys)
    return made


def orders(customers, *, day=3) -> None:
    source, _ = EventSource.objects.get_or_create(slug="t")
    at = datetime(AS_OF.year, AS_OF.month, AS_OF.day, 12, tzinfo=UTC) + timedelta(days=day)
    rows = [
        Event(
            customer_id=number, kind=EventKind.ORDER_PLACED, occurred_at=at, received_at=at, source=source,
            source_key=f"o{number}-{day}", amount_minor=2000, quantity=1, line_count=1,
        )
        for number in customers
    ]  # fmt: skip
    names = [field.attname for field in Event._meta.concrete_fields if field.attname != "id"]
    bulk.insert(Event, names, [tuple(getattr(row, name) for name in names) for row in rows])


def told(made: Campaign, **asked) -> dict:
    row = estimates.request(made, **asked)
    estimates.work(row.pk)
    row.refresh_from_db()
    assert row.state == LeaseState.DONE, row.error
    return row.result


def draft(*rules, **fields) -> Campaign:
    return campaign("draft", *rules, start=False, **fields)


def true_share(frequent: str | None, seldom: str | None) -> float:
    return (BUYS[True, frequent] + BUYS[False, seldom]) / 2


def test_a_draft_that_gives_each_what_suits_them_is_told_by_the_draws():
    made = played()
    other = draft((FREQUENT, offer("gift")), (SELDOM, offer("ten")))
    found = told(made, other=other)
    best = found["bought"]["dr"]
    truth = true_share("gift", "ten")
    assert "refusal" not in found
    assert agrees(best, truth)
    assert best["high"] - best["low"] < 0.2
    assert found["bought"]["gain"]["low"] > 0.05
    assert found["bought"]["dr"]["standard_error"] < found["bought"]["ips"]["standard_error"]
    assert found["spent"]["dr"]["value"] == pytest.approx(2000 * best["value"])
    assert found["cost_minor"]["other"] == pytest.approx(150, abs=1)
    panel = estimate_page.context(PolicyEstimate.objects.get(), Shop.get())
    assert "More would have ordered" in panel["answer"]
    assert panel["table"].rows[1][0].startswith("Doubly robust")


def test_who_would_get_nothing_is_learned_from_the_holdout():
    made = played()
    found = told(made, other=draft((FREQUENT, offer("gift"))))
    nothing = next(one for one in found["offers"] if one["offer"] is None)
    assert nothing["other"] == pytest.approx(0.5)
    assert found["held_out"] == pytest.approx(0.2 * PEOPLE, abs=40)
    best = found["bought"]["dr"]
    assert agrees(best, true_share("gift", None))


def test_one_offer_for_everybody_is_an_answer_too():
    found = told(played(), offer=offer("ten"))
    assert agrees(found["bought"]["dr"], true_share("ten", "ten"))


def test_another_campaign_that_draws_is_judged_by_its_own_chances():
    made = played()
    other = draft((EVERYBODY, offer("ten")), (EVERYBODY, offer("gift")), choice="sampling")
    CampaignRule.objects.filter(campaign=other, offer=offer("gift")).update(tried=1000, succeeded=900)
    CampaignRule.objects.filter(campaign=other, offer=offer("ten")).update(tried=1000, succeeded=100)
    found = told(made, other=other)
    gift = next(one for one in found["offers"] if one["offer"] == offer("gift").pk)
    assert gift["other"] == pytest.approx(0.98, abs=0.001)


def test_the_chances_are_those_that_were_stored():
    made = played(250)
    found = logged.read(made, horizon_days=30, shop=Shop.get())
    assert len(found.rows) == 250
    for row, chances in zip(found.rows, found.chance, strict=True):
        assert chances.sum() == pytest.approx(1.0)
        assert chances[logged.NOTHING] == pytest.approx(0.2)
        grant = Grant.objects.filter(customer=row.customer_id).first()
        if grant is not None:
            assert chances[row.action] == pytest.approx(0.8 * grant.propensity)
            assert found.offers[row.action] == grant.offer_id


def test_who_was_kept_from_what_was_drawn_is_in_the_log_like_those_held_out():
    """Another campaign takes every second one: of those drawn for as of those held out, so a fifth stays a fifth."""
    campaign("first", (FREQUENT, offer("other")), priority=9)
    made = played(250)
    found = logged.read(made, horizon_days=30, shop=Shop.get())
    assert len(found.rows) == 250
    assert found.chance.sum(axis=1) == pytest.approx(1.0)
    assert (found.action == logged.NOTHING).mean() == pytest.approx(0.2, abs=0.06)
    assert np.mean([often(row.customer_id) for row in found.rows]) == 0.5


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda: (played(100), {"offer": offer("ten")}), "too_few", "100"),
        (lambda: (played(), {"offer": offer("never", name="Never")}), "no_overlap", "Never was never given"),
        (
            lambda: (played(holdout_percent=0), {"other": draft((FREQUENT, offer("gift")))}),
            "no_overlap",
            "no holdout",
        ),
        (lambda: (_one_rule(), {"offer": offer("ten")}), "deterministic", "left to chance"),
        (
            lambda: (
                played(),
                {"other": draft(({"field": "feature.spend_365d", "op": ">", "value": 1}, offer("ten")))},
            ),
            "not_kept",
            "not kept",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_in_words(make, code, words):
    made, asked = make()
    found = told(made, **asked)
    assert found["refusal"] == code
    assert "bought" not in found
    shown = estimate_page.context(PolicyEstimate.objects.get(), Shop.get())
    assert words in shown["refusal"]
    assert shown["answer"] == ""


def _one_rule() -> Campaign:
    made = campaign("draws", (EVERYBODY, offer("ten")), choice="sampling")
    run(*({"orders": 1.0} for _ in range(300)))
    return made


def test_whoever_had_it_before_the_draw_or_is_not_followed_yet_is_left_out():
    made = played(300)
    Grant.objects.filter(customer_id__lte=40).update(propensity=None)
    had = Grant.objects.filter(customer_id__lte=40).count()
    found = told(made, offer=offer("ten"))
    assert found["left_out"] == {"undrawn": had, "not_over": 0}
    assert found["rows"] == 300 - had
    shop = Shop.get()
    shop.frozen_on = AS_OF + timedelta(days=10)
    shop.save()
    assert told(made, offer=offer("ten"))["left_out"]["not_over"] == 300 - had


def test_only_a_campaign_that_draws_can_be_asked_about_another_choice():
    plain = campaign("plain", (EVERYBODY, offer("ten")))
    with pytest.raises(ValidationError, match="draws"):
        estimates.request(plain, offer=offer("ten"))
    made = campaign("draws", (EVERYBODY, offer("ten")), choice="sampling")
    with pytest.raises(ValidationError, match="one offer"):
        estimates.request(made)
    with pytest.raises(ValidationError, match="1 to 365"):
        estimates.request(made, offer=offer("ten"), horizon_days=0)
    assert not PolicyEstimate.objects.exists()


def test_merged_customers_and_an_empty_shop_are_no_error():
    made = played(260)
    Customer.objects.filter(pk__in=range(1, 21)).update(merged_into=50)
    assert told(made, offer=offer("ten"))["rows"] == 240
    assert frame() is not None
    empty = campaign("empty", (EVERYBODY, offer("ten")), choice="sampling")
    assert told(empty, offer=offer("ten"))["refusal"] == "too_few"


def test_staff_ask_on_the_campaigns_page_and_read_the_answer(admin_client, client):
    made = played()
    other = draft((FREQUENT, offer("gift")), (SELDOM, offer("ten")))
    shown = html(admin_client.get(page("campaign_change", made.pk)))
    assert "What another choice would have brought" in shown
    assert f'value="campaign-{other.pk}"' in shown
    panel, ask = page("campaign_estimates", made.pk), page("campaign_estimate", made.pk)
    assert "Nothing was asked yet" in html(admin_client.get(panel))
    assert admin_client.post(ask, {"choice": f"campaign-{other.pk}", "days": "30"}).status_code == 302
    assert admin_client.get(panel).status_code == 202
    estimates.work(PolicyEstimate.objects.get().pk)
    told_ = html(admin_client.get(panel))
    assert "More would have ordered" in told_
    assert "Doubly robust" in told_
    for wrong in ({}, {"choice": "offer-9999", "days": "30"}, {"choice": "offer-x", "days": "30"}):
        answer = admin_client.post(ask, wrong, follow=True)
        assert "Choose another campaign, or one offer" in html(answer)
    wrong = {"choice": f"offer-{offer('ten').pk}", "days": "1e9"}
    assert "1 to 365" in html(admin_client.post(ask, wrong, follow=True))
    assert PolicyEstimate.objects.count() == 1
    client.force_login(world.person("Viewer"))
    assert "More would have ordered" in html(client.get(panel))
    assert client.post(ask, {"choice": f"campaign-{other.pk}", "days": "30"}).status_code == 403
    client.force_login(world.person("Service agent"))
    assert client.get(panel).status_code == 403
    assert PolicyEstimate.objects.count() == 1


def test_a_campaign_that_draws_nothing_shows_no_such_section(admin_client):
    made = campaign("plain", (EVERYBODY, offer("ten")))
    assert "estimate-title" not in html(admin_client.get(page("campaign_change", made.pk)))


def test_the_rest_door_asks_and_tells(client):
    played()
    api = rest.Api(client, rest.token())
    asked = api.post("/api/estimates/", {"campaign": "draws", "offer": "ten"})
    assert asked.status_code == 202
    estimates.work(asked.json()["id"])
    found = api.get(f"/api/estimates/{asked.json()['id']}/").json()
    assert found["state"] == "done"
    assert 0.3 < found["result"]["bought"]["dr"]["value"] < 0.55
    assert [row["id"] for row in api.pages("/api/estimates/", campaign="draws")] == [found["id"]]
    assert api.post("/api/estimates/", {"campaign": "none", "offer": "ten"}).status_code == 400
    assert api.post("/api/estimates/", {"campaign": "draws"}).status_code == 422
