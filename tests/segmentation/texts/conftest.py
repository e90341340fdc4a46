from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from segmentation import ingest, texts
from segmentation.kinds import EventKind
from segmentation.models import EventSource, Shop
from segmentation.normal import NormalEvent, NormalItem

TODAY = date(2024, 6, 15)
START = datetime(2024, 1, 1, 12, tzinfo=UTC)
GOOD = (
    "Lovely lamp, the quality is excellent",
    "Great value and quick delivery",
    "Very happy with this teapot",
)
BAD = ("Broken on arrival and useless", "Terrible quality, it fell apart", "Late, rude and a waste of money")


@pytest.fixture
def shop(db):
    shop = Shop.get()
    shop.frozen_on = TODAY
    shop.save()
    return shop


@pytest.fixture
def source(db):
    return EventSource.objects.create(slug="crm", live_since=datetime(2024, 6, 1, tzinfo=UTC))


@pytest.fixture
def say(shop, source):
    """Stores reviews (or tickets) as a connection would."""

    def tell(*said: NormalEvent):
        return ingest.record_events(
            list(said), source=source, namespace="shop", received_at=START + timedelta(days=165), cause="test"
        )

    return tell


def review(key: str, day: float, text: str, rating: float | None = None, *, customer: str = "", **more):
    values = {"kind": EventKind.REVIEWED, "customer": customer or f"C{key}", "rating": rating} | more
    return NormalEvent(
        source_key=key, occurred_at=START + timedelta(days=day), text=text, items=(NormalItem("P1", amount=Decimal(0)),),
        **values,
    )  # fmt: skip


def history(count: int = 130, *, first: float = 0.0, days: float = 130.0, key: str = "r"):
    """Rated reviews spread over the days, good and bad by turns; words differ enough to be told apart."""
    return [
        review(
            f"{key}{n}",
            first + days * n / count,
            f"{(GOOD, BAD)[n % 2][n % 3]} {('', 'really', 'the parcel came', 'second order')[n % 4]}",
            (5.0, 1.0)[n % 2],
        )
        for n in range(count)
    ]


def read_everything() -> int:
    """As the worker does, job after job; how many jobs it took."""
    for jobs in range(1, 30):
        if not texts.work():
            return jobs
    raise AssertionError("the worker never comes to an end")
