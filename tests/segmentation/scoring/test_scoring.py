"""One frame and one transaction, for one customer as for all of them."""

from __future__ import annotations

import datetime as dt

import pytest

from segmentation import due, identities, scoring, segments, starter
from segmentation.models import (
    Consent,
    Customer,
    CustomerFeatures,
    Decision,
    DueCustomer,
    LeaseState,
    Membership,
    Score,
    ScoreHistory,
    Segment,
    Target,
)
from segmentation.news import News
from tests.support import mini_shop

BATCH, EVENT = Decision.Cause.BATCH, Decision.Cause.EVENT


def ids():
    return list(Customer.objects.filter(merged_into=None).order_by("pk").values_list("pk", flat=True))


def noon(day):
    return dt.datetime.combine(day, dt.time(12), tzinfo=dt.UTC)


def stored():
    """Everything scoring writes about each customer, without row ids and versions."""
    people = Customer.objects.order_by("pk").values_list(
        "pk", "tier", "churn_probability", "future_value_minor", "orders", "spent_minor", "last_order_at", "priority",
        "current_offer__slug", "abstain_reason",
    )  # fmt: skip
    scores = Score.objects.order_by("customer", "target__slug").values_list(
        "customer",
        "target__slug",
        "value",
        "median",
        "lower",
        "upper",
        "label",
        "probabilities",
        "abstain_reason",
    )
    vectors = CustomerFeatures.objects.order_by("pk").values_list("pk", "vector")
    decisions = Decision.objects.order_by("customer").values_list(
        "customer", "campaign__slug", "offer__slug", "priority", "verdicts"
    )
    return (
        list(people),
        [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in scores],
        [(pk, bytes(vector)) for pk, vector in vectors],
        [tuple(bytes(v) if isinstance(v, bytes | memoryview) else v for v in row) for row in decisions],
    )


def test_who_is_merged_while_being_scored_gets_nothing(champion, monkeypatch):
    """Nobody would look at them again: results written after the merge would stay for good."""
    starter.install()
    home, guest = Customer.objects.filter(pk__in=ids()[:2]).order_by("pk")
    compute = scoring.compute

    def meanwhile(*args):
        computed = compute(*args)
        identities.merge(home, guest)
        return computed

    monkeypatch.setattr(scoring, "compute", meanwhile)
    report = scoring.score_customers([home.pk, guest.pk], scoring.pin(), cause=BATCH)
    assert guest.pk in report.stale
    for model in (Score, Membership, Decision, CustomerFeatures):
        assert not model.objects.filter(customer=guest).exists()


def test_a_batch_and_single_customers_get_exactly_the_same(champion):
    starter.install()
    Customer.objects.filter(pk__in=ids()[14:]).delete()
    pinned = scoring.pin()
    scoring.score_customers(ids(), pinned, cause=BATCH)
    together = stored()
    for model in (Decision, Score, ScoreHistory, CustomerFeatures):
        model.objects.all().delete()
    Customer.objects.update(
        tier="", churn_probability=None, future_value_minor=None, orders=0, scored_as_of=None, current_offer=None,
        priority=2,
    )  # fmt: skip
    for key in ids():
        scoring.score_customers([key], pinned, cause=BATCH)
    assert stored() == together
    assert len(together[3]) == len(ids())
    assert any(row[2] for row in together[3]), "somebody should get an offer, or the comparison is empty"


def test_the_scores_and_headline_columns_are_those_of_the_champion(champion, shop):
    scoring.score_customers(ids(), scoring.pin(), cause=BATCH)
    customer = Customer.objects.filter(abstain_reason="", orders=2).first()
    scores = {score.target.slug: score for score in customer.scores.select_related("target")}
    assert scores["future_value"].value == 20.0
    assert (scores["future_value"].lower, scores["future_value"].upper) == (2.0, 60.0)
    assert customer.future_value_minor == 2000
    assert scores["value_tier"].label == customer.tier == "middle"
    assert scores["value_tier"].value == 0.925
    assert scores["churn"].value == customer.churn_probability
    assert {score.version_id for score in scores.values()} == {champion.pk}
    assert customer.scored_as_of == shop.scoring_as_of()
    assert customer.scored_version == customer.input_version == 1


def test_without_a_champion_rules_still_decide_and_the_reason_is_shown(shop):
    starter.install()
    report = scoring.score_customers(ids(), scoring.pin(), cause=BATCH)
    assert report.decisions == len(ids())
    assert not Score.objects.exists()
    assert set(Customer.objects.values_list("abstain_reason", flat=True)) == {"no_model"}
    assert CustomerFeatures.objects.count() == len(ids())
    assert Customer.objects.filter(current_offer__isnull=False).exists()


def test_who_ordered_too_long_ago_or_never_has_a_reason_instead_of_a_score(champion, shop):
    silent = Customer.objects.create(reference="silent")
    old = Customer.objects.create(reference="old")
    mini_shop.order(old, at=noon(shop.today() - dt.timedelta(days=400)))
    edge = Customer.objects.create(reference="edge")
    mini_shop.order(edge, at=noon(shop.scoring_as_of() - dt.timedelta(days=365)), key="edge")
    scoring.score_customers(ids(), scoring.pin(), cause=BATCH)
    reasons = dict(Customer.objects.values_list("reference", "abstain_reason"))
    assert (reasons["silent"], reasons["old"], reasons["edge"]) == ("no_orders", "no_order_in_365_days", "")
    score = Score.objects.get(customer=old, target__slug="churn")
    assert (score.value, score.abstain_reason) == (None, "no_order_in_365_days")
    assert Customer.objects.get(pk=silent.pk).churn_probability is None


def test_a_refusal_removes_the_scores_but_not_the_rules(champion):
    starter.install()
    customer = Customer.objects.filter(orders=0).first()
    scoring.score_customers(ids(), scoring.pin(), cause=BATCH)
    assert customer.scores.count() == 3
    Consent.objects.create(
        customer=customer, purpose="profiling", status="denied", decided_at=noon(mini_shop.TODAY)
    )
    Customer.objects.filter(pk=customer.pk).update(is_profiled=False)
    scoring.score_customers([customer.pk], scoring.pin(), cause=BATCH)
    customer.refresh_from_db()
    assert customer.scores.count() == 0
    assert (customer.abstain_reason, customer.tier, customer.churn_probability) == ("not_profiled", "", None)
    assert customer.decisions.exists()


def test_a_change_between_reading_and_writing_is_not_overwritten(champion, monkeypatch):
    first, second = ids()[:2]
    pinned = scoring.pin()
    computed = scoring.compute([first, second], pinned)
    due.mark_due([first], cause="test")
    monkeypatch.setattr(scoring, "compute", lambda *args, **kwargs: computed)
    report = scoring.score_customers([first, second], pinned, cause=BATCH)
    assert (report.written, report.stale) == ((second,), (first,))
    assert not Score.objects.filter(customer=first).exists()
    assert Customer.objects.get(pk=first).input_version == 1


def test_a_nightly_batch_never_overwrites_a_newer_result(champion, shop):
    key = Customer.objects.order_by("pk").first().pk
    yesterday = scoring.pin()
    shop.frozen_on = shop.frozen_on + dt.timedelta(days=1)
    shop.save()
    mini_shop.order(Customer.objects.get(pk=key), at=noon(shop.today()))
    due.mark_due([key], cause="test")
    scoring.rescore_due()
    newer = list(Score.objects.filter(customer=key).values())
    late = scoring.pin(yesterday.as_of, context=yesterday.context)
    report = scoring.score_customers(ids(), late, cause=BATCH)
    assert report.stale == (key,)
    assert list(Score.objects.filter(customer=key).values()) == newer
    assert Score.objects.exclude(customer=key).exists()


def test_another_tier_or_segment_is_news_although_nothing_new_is_decided(champion):
    scoring.score_customers(ids(), scoring.pin(), cause=BATCH)
    calm, regraded, entered, left = some = ids()[:4]
    segment = Segment.objects.create(slug="chosen", name="Chosen")
    segments.save_rule(segment, {"field": "customer.country", "op": "is", "value": "IS"})
    Membership.objects.create(segment=segment, customer_id=left)
    Customer.objects.filter(pk=regraded).update(tier="another")
    Customer.objects.filter(pk=entered).update(country="IS")
    news = []
    scoring.score_customers(some, scoring.pin(), cause=BATCH, on_decided=news.extend)
    assert news == [News(regraded), News(entered), News(left)]
    # A first tier is none that changed: the first decision tells of it.
    changed = list(Customer.objects.exclude(tier_changed_at=None).values_list("pk", "tier_changed_at"))
    assert [key for key, _at in changed] == [regraded]
    news.clear()
    scoring.score_customers(some, scoring.pin(), cause=BATCH, on_decided=news.extend)
    assert (
        list(Customer.objects.exclude(tier_changed_at=None).values_list("pk", "tier_changed_at")) == changed
    )
    assert news == []


def test_when_the_shops_day_is_set_back_results_of_the_other_day_give_way(champion, shop):
    scoring.score_customers(ids(), scoring.pin(), cause=BATCH)
    shop.frozen_on = shop.frozen_on - dt.timedelta(days=200)
    shop.save()
    report = scoring.score_customers(ids(), scoring.pin(), cause=BATCH)
    assert not report.stale
    assert set(Score.objects.values_list("as_of", flat=True)) == {shop.scoring_as_of()}
    assert set(CustomerFeatures.objects.values_list("as_of", flat=True)) == {shop.scoring_as_of()}


def test_everything_of_a_transaction_goes_or_nothing(champion):
    starter.install()

    def broken(decided):
        raise RuntimeError("the outbox is broken")

    with pytest.raises(RuntimeError):
        scoring.score_customers(ids(), scoring.pin(), cause=BATCH, on_decided=broken)
    assert not Score.objects.exists()
    assert not Decision.objects.exists()
    assert not CustomerFeatures.objects.exists()
    assert not Customer.objects.exclude(scored_as_of=None).exists()


def test_history_keeps_changes_of_class_and_month_ends(champion, shop):
    person = Customer.objects.create(reference="new")
    key = person.pk
    mini_shop.order(person, at=noon(shop.today() - dt.timedelta(days=9)), key="first")
    tier = Target.objects.get(slug="value_tier")
    scoring.score_customers([key], scoring.pin(), cause=BATCH)
    assert ScoreHistory.objects.filter(customer=key).count() == 1
    scoring.score_customers([key], scoring.pin(), cause=BATCH)
    assert ScoreHistory.objects.filter(customer=key).count() == 1
    shop.frozen_on += dt.timedelta(days=1)
    shop.save()
    mini_shop.order(person, at=noon(shop.today()))
    due.mark_due([key], cause="test")
    scoring.rescore_due()
    changed = ScoreHistory.objects.filter(customer=key, target=tier).order_by("as_of")
    assert [row.as_of for row in changed] == [
        shop.scoring_as_of() - dt.timedelta(days=1),
        shop.scoring_as_of(),
    ]
    shop.frozen_on = dt.date(2024, 3, 31)
    shop.save()
    scoring.score_customers([key], scoring.pin(), cause=BATCH)
    assert ScoreHistory.objects.filter(customer=key, as_of=dt.date(2024, 4, 1)).count() == 3


def test_due_customers_are_scored_once_and_their_rows_go(champion):
    some = ids()[:3]
    due.mark_due(some, cause="test")
    due.mark_due(some[:1], cause="test")
    decided = []
    assert scoring.rescore_due(on_decided=decided.extend) == 3
    assert scoring.rescore_due() == 0
    assert not DueCustomer.objects.exists()
    assert sorted(row.customer_id for row in decided) == some
    assert set(Decision.objects.values_list("cause", flat=True)) == {EVENT}


def test_a_change_while_scoring_leaves_the_row_waiting(champion, monkeypatch, nudges):
    key = ids()[0]
    due.mark_due([key], cause="test")
    real = scoring.compute

    def and_meanwhile(*args, **kwargs):
        computed = real(*args, **kwargs)
        due.mark_due([key], cause="meanwhile")
        return computed

    monkeypatch.setattr(scoring, "compute", and_meanwhile)
    assert scoring.rescore_due() == 1
    row = DueCustomer.objects.get()
    assert (row.state, row.generation, row.lease_until) == (LeaseState.QUEUED, 2, None)
    assert not Score.objects.exists()
    monkeypatch.setattr(scoring, "compute", real)
    assert scoring.rescore_due() == 1
    assert Score.objects.filter(customer=key).count() == 3


def test_one_customer_that_cannot_be_scored_does_not_hold_up_the_others(champion, monkeypatch):
    good, bad = ids()[:2]
    due.mark_due([good, bad], cause="test")
    real = scoring.compute

    def fragile(keys, pinned):
        if bad in keys:
            raise ValueError("a number out of range")
        return real(keys, pinned)

    monkeypatch.setattr(scoring, "compute", fragile)
    assert scoring.rescore_due() == 2
    assert Score.objects.filter(customer=good).exists()
    row = DueCustomer.objects.get()
    assert (row.customer_id, row.state, row.error) == (
        bad,
        LeaseState.QUEUED,
        "ValueError: a number out of range",
    )
    DueCustomer.objects.update(run_after=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), attempts=2)
    scoring.rescore_due()
    assert DueCustomer.objects.get().state == LeaseState.FAILED


def test_an_outdated_model_abstains_instead_of_guessing(champion):
    champion.catalogue_version = "another"
    champion.save()
    scoring.score_customers(ids(), scoring.pin(), cause=BATCH)
    assert set(Score.objects.values_list("value", flat=True)) == {None}
    assert "model_outdated" in set(Customer.objects.values_list("abstain_reason", flat=True))
