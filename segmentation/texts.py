"""Reading what customers wrote: sentiment, topic and how often it was said before, by a worker, once for each text.

The row is the truth: a text without `read_at` waits. One worker reads at a time; reading twice would do no harm. Where a
source tells things as they happen, the customer is scored again; after an import the next scoring of everybody sees it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Final

import numpy as np
import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from segmentation import bulk, due, text_models
from segmentation.alone import only
from segmentation.features.days import day_number, local_days
from segmentation.jobs import Job, enqueue
from segmentation.locks import lock_customers
from segmentation.ml import encoders
from segmentation.models import Customer, EventText, Shop, TextModel

log = structlog.get_logger(__name__)

AT_ONCE: Final = 200
# A job gives way after so long, and asks for another.
SECONDS: Final = 60.0
# Of texts that one worker reads at a time (segmentation/alone.py).
ALONE: Final = "texts"
# A training wants to know what customers wrote, and does not wait longer for it.
PATIENCE: Final = 600.0
LOOK_AGAIN: Final = 2.0
# What is shorter is said by many who mean it.
REPEATABLE_LETTERS: Final = 20
READ: Final = ("event_id", "read_at", "text_model_id", "sentiment", "topic", "text_hash", "repeats")
MOST_REPEATS: Final = 999


@dataclass(frozen=True)
class Waiting:
    """texts: at most `most` were counted. needs: the encoder that the newest model was fitted with, if it is not here."""

    texts: int
    needs: str = ""


def work() -> bool:
    """Read what waits, and fit the models that are lacking; whether there is more to do."""
    until = time.monotonic() + SECONDS
    with only(ALONE) as free:
        if not free:
            # Whoever is at it looks again when they are done.
            return False
        try:
            for _step in _steps(Shop.get()):
                if time.monotonic() >= until:
                    return True
        except encoders.NoEncoder as error:
            # Whoever has the encoder reads them; the page says that they wait.
            log.warning("texts.no_encoder", error=str(error))
            return False
    return _has_come()


def finish(watch: Callable[[], None], *, seconds: float = PATIENCE) -> None:
    """Read all that waits, or wait for whoever is at it, for so long at most; watch: called at least once a step.

    Whoever asks goes on without texts that cannot be read; what `watch` raises comes through.
    """
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            with only(ALONE) as free:
                if free:
                    _read_until(until, watch)
                    return
            watch()
            time.sleep(LOOK_AGAIN)
    finally:
        if _has_come():
            enqueue(Job.READ_TEXTS)


def _read_until(until: float, watch: Callable[[], None]) -> None:
    reading = _steps(Shop.get())
    while time.monotonic() < until:
        try:
            next(reading)
        except StopIteration:
            return
        except Exception as error:
            log.exception("texts.left_unread", error=type(error).__name__)
            return
        watch()


def _steps(shop: Shop) -> Iterator[None]:
    """All there is to do, a step at a time: a model that is lacking, or AT_ONCE texts. Raises NoEncoder."""
    looked = text_models.may_be_due(shop)
    if looked:
        yield from _models(shop)
    while (found := read_some(shop)) is not None:
        yield
        if found.early and not looked:
            yield from _models(shop)
            looked = True


def _models(shop: Shop) -> Iterator[None]:
    while text_models.fit_due(shop) is not None:
        yield


def _has_come() -> bool:
    """Whether texts came while others were read: who told of them may have found the work taken."""
    return TextModel.objects.exists() and text_models.said().filter(read_at=None).exists()


@dataclass(frozen=True)
class Read:
    """early: some are from before the first model, so an earlier one may be possible."""

    texts: int
    early: bool


def read_some(shop: Shop) -> Read | None:
    """Read up to AT_ONCE waiting texts; None where none waits, or there is no model yet. Raises NoEncoder."""
    models = list(TextModel.objects.order_by("as_of").defer("content"))
    if not models:
        return None
    waiting = text_models.said().filter(read_at=None).select_related("event__source")
    rows = list(waiting.order_by("pk")[:AT_ONCE])
    if not rows:
        return None
    texts = text_models.opened(rows)
    instants = np.array([int(row.event.occurred_at.timestamp() * 1e6) for row in rows], dtype=np.int64)
    days = local_days(instants, shop.zone).tolist()
    starts, now = [day_number(model.as_of) for model in models], timezone.now()
    by_model: dict[int, list[EventText]] = {}
    for row, day in zip(rows, days, strict=True):
        place = bisect_right(starts, day)
        row.read_at, row.text_model = now, models[place - 1] if place else None
        if row.pk in texts:
            row.text_hash = text_models.hashed(texts[row.pk])
            if place:
                by_model.setdefault(place - 1, []).append(row)
    for place, own in by_model.items():
        _read(models[place], own, texts)
    _store(rows, texts)
    return Read(len(rows), early=any(row.text_model is None and row.pk in texts for row in rows))


def _read(model: TextModel, rows: Sequence[EventText], texts: dict[int, str]) -> None:
    fitted = text_models.load(model)
    vectors = None
    if fitted.encoder:
        wanted = settings.TEXT_ENCODER
        if encoders.name(wanted) != fitted.encoder:
            raise encoders.NoEncoder(
                f"Text model {model.pk} reads with {fitted.encoder}, which is not set here."
            )
        vectors = text_models.vectors(rows, texts, wanted=wanted, encoder=fitted.encoder)
    found = fitted.read([texts[row.pk] for row in rows], vectors)
    for row, sentiment, topic in zip(rows, found.sentiment.tolist(), found.topic.tolist(), strict=True):
        row.sentiment = None if np.isnan(sentiment) else sentiment
        row.topic = topic


def _store(rows: Sequence[EventText], texts: dict[int, str]) -> None:
    """Lay the readings down, and see to it that the customers are scored with them."""
    moved = _count_repeats([row for row in rows if len(texts.get(row.pk, "")) >= REPEATABLE_LETTERS])
    owners = {row.event.customer_id for row in rows} | set(moved.values())
    merged = Customer.objects.filter(pk__in=owners).exclude(merged_into=None)
    with transaction.atomic():
        # Customers before anything of theirs, as all writers do.
        survivors = {key for key in merged.values_list("merged_into", flat=True) if key is not None}
        lock_customers(owners | survivors)
        bulk.update(EventText, READ, map(attrgetter(*READ), rows), keys=["event_id"])
        bulk.update(
            EventText, ("event_id", "repeats"), ((row.pk, row.repeats) for row in moved), keys=["event_id"]
        )
        live = {row.event.customer_id for row in rows if _is_live(row)}
        due.mark_due(live, cause="text")
        due.grow_versions(owners - live)


def _count_repeats(rows: Sequence[EventText]) -> dict[EventText, int]:
    """Say of these how many texts before them, of anybody, say the same; texts are not read in the order they were said.

    Returns texts that were read before and are repeats since one of these is known, with whose they are.
    """
    fresh = {row.pk: row for row in rows}
    said: dict[str, list[tuple[datetime, int]]] = {}
    for row in rows:
        said.setdefault(row.text_hash, []).append((row.event.occurred_at, row.pk))
    known: dict[int, tuple[int, int]] = {}
    # Those that came after so many are as far up as a count goes, and nothing that is told now moves them.
    counted = text_models.said().filter(text_hash__in=list(said), repeats__lt=MOST_REPEATS)
    asked = ("text_hash", "event__occurred_at", "pk", "repeats", "event__customer_id")
    for key, at, pk, repeats, owner in counted.exclude(pk__in=list(fresh)).values_list(*asked):
        said[key].append((at, pk))
        known[pk] = repeats, owner
    moved: dict[EventText, int] = {}
    for moments in said.values():
        for before, (_at, pk) in enumerate(sorted(moments)):
            repeats = min(before, MOST_REPEATS)
            if pk in fresh:
                fresh[pk].repeats = repeats
            elif known[pk][0] != repeats:
                moved[EventText(event_id=pk, repeats=repeats)] = known[pk][1]
    return moved


def _is_live(row: EventText) -> bool:
    since = row.event.source.live_since
    return since is not None and row.event.occurred_at >= since


def waiting(most: int = 1000) -> Waiting:
    """For a page: how many wait, and whether the encoder they wait for is set here."""
    count = len(text_models.said().filter(read_at=None).values_list("pk", flat=True)[:most])
    newest = TextModel.objects.order_by("-as_of").values_list("encoder", flat=True).first() or ""
    try:
        here = encoders.name(settings.TEXT_ENCODER)
    except encoders.NoEncoder:
        here = ""
    return Waiting(count, newest if newest and newest != here else "")
