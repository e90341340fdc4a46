"""Draws are stable, fair, and belong to the person."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from django.core.exceptions import ValidationError

from segmentation import holdouts, identities
from segmentation.holdouts import Draw
from segmentation.models import AuditEntry, Customer, HoldoutGroup
from tests.segmentation.decisions.shop import FREQUENT, campaign, offer


def everyone(draw, keys):
    return holdouts.Drawn(draw, keys).among(np.ones(len(keys), dtype=bool))


def test_only_whom_it_matters_for_are_drawn_and_once(monkeypatch):
    keys, draw = [f"c{n}" for n in range(40)], Draw("salt", 50.0)
    asked = []
    really = holdouts.Drawn._shares
    monkeypatch.setattr(
        holdouts.Drawn, "_shares", lambda self, rows: asked.extend(rows.tolist()) or really(self, rows)
    )
    drawn, rows = holdouts.Drawn(draw, keys), np.arange(40)
    first, second = drawn.among(rows < 10), drawn.among(rows < 20)
    assert asked == list(range(20))
    assert not first[10:].any()
    assert second[:20].tolist() == [holdouts.is_held_out(draw, key) for key in keys[:20]]


def test_the_share_is_what_was_asked_for_and_two_draws_are_independent():
    keys = [f"customer-{n}" for n in range(20_000)]
    first, second = (everyone(Draw(salt, 10.0), keys) for salt in ("one", "two"))
    assert abs(first.mean() - 0.10) < 0.01
    assert abs(second[first].mean() - 0.10) < 0.03


def test_a_draw_can_be_recomputed_by_anyone_with_the_salt():
    digest = hashlib.sha256(b"salt:c1").digest()
    share = int.from_bytes(digest[:8], "big") / 2**64 * 100
    assert holdouts.is_held_out(Draw("salt", share + 1e-6), "c1")
    assert not holdouts.is_held_out(Draw("salt", share - 1e-6), "c1")


def test_growing_a_draw_under_one_salt_keeps_everybody_in():
    keys = [f"c{n}" for n in range(2000)]
    small, large = (everyone(Draw("salt", percent), keys) for percent in (5.0, 20.0))
    assert (large | ~small).all()
    assert not everyone(Draw("salt", 0.0), keys).any()
    assert not everyone(None, keys).any()


def test_another_percentage_is_a_new_draw_and_the_old_one_is_kept():
    first = holdouts.set_global(5)
    assert holdouts.set_global("5.00") == first
    second = holdouts.set_global(10)
    assert (second.draw, second.salt != first.salt) == (2, True)
    assert list(HoldoutGroup.objects.order_by("draw").values_list("is_current", flat=True)) == [False, True]
    assert AuditEntry.objects.filter(action="holdout.drawn").count() == 2
    assert holdouts.current_draws() == {None: Draw.of(second)}


def test_more_than_half_is_refused_and_changes_nothing():
    holdouts.set_global(5)
    with pytest.raises(ValidationError, match="from 0 to 50"):
        holdouts.set_global(51)
    assert HoldoutGroup.objects.get().percent == 5


def test_a_campaign_draws_when_it_starts():
    made = campaign("c", (FREQUENT, offer("a")), holdout_percent=10)
    group = HoldoutGroup.objects.get(campaign=made)
    assert (group.percent, group.is_current) == (10, True)


def test_a_merged_person_keeps_the_older_draw():
    old, new = (Customer.objects.create(reference=name) for name in ("old", "new"))
    identities.merge(new, old)
    new.refresh_from_db()
    assert holdouts.key_of(new) == "old"


@pytest.mark.parametrize("percent", [0.01, 5.0, 33.33, 50.0])
def test_many_at_once_are_drawn_as_one_by_one(percent):
    draw = Draw("salt", percent)
    keys = [f"k{number}" for number in range(2000)] + ["é", ""]
    asked = np.arange(len(keys)) % 3 > 0
    found = holdouts.Drawn(draw, keys).among(asked)
    assert found.tolist() == [
        bool(wanted) and holdouts.is_held_out(draw, key) for wanted, key in zip(asked, keys, strict=True)
    ]
