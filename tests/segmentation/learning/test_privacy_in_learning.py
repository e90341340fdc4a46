"""Who refused is neither learned from nor scored, and nothing that names a person reaches the learning code."""

from __future__ import annotations

import polars as pl
import pytest

from segmentation import consents, contacts, scoring
from segmentation.ml.schema import Frame
from segmentation.models import Consent, Customer, Score, Shop
from tests.segmentation.learning.conftest import train

NAMES = ("Evangelina", "Musterfrau", "eva.muster@example.com", "+41791234567")


@pytest.fixture
def seen(monkeypatch):
    """Every frame that the learning code is given: ids, names of columns, texts."""
    frames: list[Frame] = []
    known = Frame.__post_init__

    def remember(self):
        known(self)
        frames.append(self)

    monkeypatch.setattr(Frame, "__post_init__", remember)
    return frames


def ids(frames):
    return {int(key) for frame in frames for key in frame.ids}


def texts(frames):
    found = set()
    for frame in frames:
        for column in frame.x.get_columns():
            if column.dtype == pl.String:
                found |= set(column.drop_nulls().unique().to_list())
        found |= {str(value) for values in frame.groups.values() for value in values}
    return found


def buyers():
    return list(Customer.objects.order_by("pk"))


def refuse(customer):
    answer = Consent.Status.DENIED
    Consent.objects.create(
        customer=customer,
        purpose=Consent.Purpose.PROFILING,
        status=answer,
        decided_at="2020-01-01T00:00Z",
        source="t",
    )
    consents.refresh_profiled([customer.pk])


def score_everybody():
    scoring.score_customers([one.pk for one in buyers()], scoring.pin())


def test_nothing_that_names_a_person_is_learned_from_and_nobody_who_refused(small_shop, standard, seen):
    people = buyers()
    for number, person in enumerate(people[:40]):
        contacts.write(
            person,
            contacts.Contact(
                email=f"{number}{NAMES[2]}", phone=NAMES[3], first_name=NAMES[0], last_name=NAMES[1]
            ),
        )
    refused = {one.pk for one in people[:60]}
    for one in people[:60]:
        refuse(one)
    run = train(standard)
    assert (run.state, run.error) == ("done", "")
    assert ids(seen)
    assert not ids(seen) & refused
    trained = list(seen)
    seen.clear()
    score_everybody()
    assert ids(seen)
    assert not ids(seen) & refused
    assert not Score.objects.filter(customer__in=refused).exists()
    for frames in (trained, seen):
        known = texts(frames)
        assert known, "country and channel are there"
        direct = {*NAMES, *(one.reference for one in people)}
        assert not {text for text in known for word in direct if word.lower() in text.lower()}
        columns = {name for frame in frames for name in frame.x.columns}
        assert not {
            n
            for n in columns
            if any(w in n for w in ("email", "phone", "first_name", "last_name", "reference"))
        }


def test_where_consent_is_needed_only_those_who_gave_it_are_scored(small_shop, standard, seen):
    train(standard)
    score_everybody()
    agreed = Score.objects.filter(abstain_reason="").first().customer
    seen.clear()
    Shop.objects.update(profiling_basis="consent")
    Consent.objects.create(
        customer=agreed,
        purpose=Consent.Purpose.PROFILING,
        status=Consent.Status.GRANTED,
        decided_at="2020-01-01T00:00Z",
        source="t",
    )
    consents.refresh_profiled([one.pk for one in buyers()])
    score_everybody()
    assert ids(seen) == {agreed.pk}
    assert set(Score.objects.values_list("customer", flat=True)) == {agreed.pk}
