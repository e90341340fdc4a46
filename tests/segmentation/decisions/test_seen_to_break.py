"""What keeps each promise of the play is taken away in turn, and the play must fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from django.db import IntegrityError
from hypothesis import Phase

from segmentation import campaigns, holdouts, in_force
from segmentation.decisions import circumstances, hours, ledger, limits, terms, verdicts
from segmentation.models import Campaign, OfferCode
from tests.segmentation.decisions.test_never_broken import EVERYBODY, SEEDS, SLUGS, Shop, play


def draws_nobody(which):
    made = verdicts._Gates.__init__

    def blind(self, frame, policy, keys, *rest):
        made(self, frame, policy, keys, *rest)
        nobody = holdouts.Drawn(None, keys)
        setattr(self, which, nobody if which == "held_out" else dict.fromkeys(self._by_campaign, nobody))

    return verdicts._Gates, "__init__", blind


def takes_consent_for_granted():
    made = verdicts._Gates.__init__

    def blind(self, frame, *rest):
        made(self, frame, *rest)
        self._consent = np.full(frame.height, verdicts.GRANTED)

    return verdicts._Gates, "__init__", blind


def sees_no(window):
    is_open = hours.is_open
    return hours, "is_open", lambda terms, local: is_open(replace(terms, **{window: None}), local)


def stacks_everything():
    place = verdicts._Ranking.place

    def beside(self, index, candidate, code):
        stacking = replace(candidate.campaign, stacks=True)
        place(self, index, replace(candidate, campaign=stacking), code)

    return verdicts._Ranking, "place", beside


def limits_all_but(slug):
    limits_of = limits.limits_of
    return limits, "limits_of", lambda thing: (None, None) if thing.slug == slug else limits_of(thing)


def closes_of_running_campaigns():
    over = ledger._over

    def narrow(given, policy, around):
        ours = around.grants.join(policy.places, on="campaign_id", how="semi")
        return over(given, policy, replace(around, grants=ours))

    return ledger, "_over", narrow


def closes_each_by_itself():
    over = ledger._over

    def apart(given, policy, around):
        each = (replace(around, grants=one) for one in around.grants.iter_slices(1))
        return [pk for one in each for pk in over(given, policy, one)]

    return ledger, "_over", apart


def gives_codes_again(_allowance, offer_id, wanted):
    return list(OfferCode.objects.filter(offer=offer_id).values_list("pk", "code")[:wanted])


BROKEN = {
    "the holdout of all campaigns": draws_nobody("held_out"),
    "a campaign's holdout": draws_nobody("_by_campaign"),
    "caps": (terms.Cap, "covers", lambda self, campaign: False),
    "exclusive groups": (verdicts._Ranking, "_note", lambda self, taken, key, wins: None),
    "consent": takes_consent_for_granted(),
    "a campaign's hours": sees_no("hours"),
    "coming alone": stacks_everything(),
    "a pause ends what is given": (
        campaigns, "in_effect", lambda today: Campaign.objects.exclude(status="ended"),
    ),
    "a pause ends what was given": closes_of_running_campaigns(),
}  # fmt: skip


def only(shop, slug):
    """This campaign alone is left, with no holdout, in hours that are day nearly everywhere."""
    for name in ("", "day"):
        shop.has_another_holdout(slug=name, percent=0)
    for other in SLUGS:
        if other != slug:
            shop.is_paused_or_resumed(slug=other)
    shop.time_passes(hours=13)


def spends(slug):
    def steps(shop):
        yield only(shop, slug)
        yield shop.has_another_budget(slug=slug, budget=300)
        yield shop.are_decided()

    return steps


def gives(slug, *, times, to=EVERYBODY):
    def steps(shop):
        yield only(shop, slug)
        for _ in range(times):
            yield shop.are_decided(to)
            yield shop.time_passes(hours=50)

    return steps


def gives_to_one_by_one(shop):
    yield only(shop, "cart")
    yield shop.are_decided({1})
    yield shop.are_decided({2})


def gives_at_night(shop):
    yield only(shop, "gain")
    yield shop.is_quiet_at_night(quiet=True)
    yield shop.are_decided()


def is_left_alone_from_now_on(shop):
    yield only(shop, "text")
    yield shop.are_decided({1})
    yield shop.is_suppressed(who=1)
    yield shop.are_decided({1})


def both_have_it(shop):
    yield only(shop, "text")
    yield shop.are_decided({1, 2})
    yield shop.are_merged(one=1, other=2)
    yield shop.are_decided({1})


# What random plays come to seldom or late.
SEQUENCES = {
    "a campaign's budget": (limits_all_but("day"), spends("day")),
    "the budget of who chooses by gain": (limits_all_but("gain"), spends("gain")),
    "a budget that only the database counts": (
        (limits._Left, "room", lambda self, cost: None), spends("day"),
    ),
    "the limit of an offer": (limits_all_but("limited"), gives("text", times=2)),
    "the limit per customer": (
        (circumstances.Circumstances, "spent", lambda self, index: None), gives("text", times=3, to={1}),
    ),
    "quiet hours": (sees_no("quiet"), gives_at_night),
    "codes": ((limits.Allowance, "_pool", gives_codes_again), gives_to_one_by_one),
    "suppression": (
        (circumstances.Circumstances, "suppressed", lambda self, channel: None), is_left_alone_from_now_on,
    ),
    "what either of two had is the person's": (
        (circumstances, "rows_of", lambda ids: {key: row for row, key in enumerate(ids)}), both_have_it,
    ),
    "what both of two had is kept once": (closes_each_by_itself(), both_have_it),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_worked_out_before(monkeypatch):
    """A policy that was read without a promise is nobody else's."""
    monkeypatch.setattr(in_force, "_kept", {})


def walk(steps):
    shop = Shop()
    shop.open()
    try:
        for _ in steps(shop):
            shop.limits_hold()
    finally:
        shop.teardown()


@pytest.mark.django_db
@pytest.mark.parametrize("promise", BROKEN)
def test_a_random_play_sees_it_break(monkeypatch, promise):
    """On a promise, or on the check of the database behind it."""
    monkeypatch.setattr(*BROKEN[promise])
    with pytest.raises((AssertionError, IntegrityError)):
        play(SEEDS[0], phases=[Phase.generate], report_multiple_bugs=False, print_blob=False)


@pytest.mark.django_db
@pytest.mark.parametrize("promise", SEQUENCES)
def test_these_steps_see_it_break(monkeypatch, promise):
    mutant, steps = SEQUENCES[promise]
    walk(steps)
    monkeypatch.setattr(*mutant)
    with pytest.raises((AssertionError, IntegrityError)):
        walk(steps)
