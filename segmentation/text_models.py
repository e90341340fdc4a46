"""Text models by date: when a new one is due, and fitting it on what was said before its day.

The first is of the day after enough was said, the next ones follow every 90 days on which enough was said anew. History
that is imported later gets the earlier models it lacks. So each text is read by a model that knows nothing later than it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
import structlog
from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db.models import Q, QuerySet

from segmentation import bulk, crypto
from segmentation.features.days import day_number, local_days, midnight
from segmentation.ml import encoders
from segmentation.ml.storage import ArtifactError
from segmentation.ml.terms import cleaned
from segmentation.ml.text import BAD, FEWEST_OF_EACH, GOOD, Sample
from segmentation.ml.text import TextModel as Fitted
from segmentation.models import ContactData, EventText, Shop, TextModel

log = structlog.get_logger(__name__)

REFIT_DAYS: Final = 90
# Topics alone can be told from so many texts; good from bad from FEWEST_OF_EACH ratings of either.
FEWEST_TEXTS: Final = 200
FEWEST_NEW: Final = 20
MOST_TEXTS: Final = 6_000
ENCODED_AT_ONCE: Final = 64
# Whoever may not be profiled is not read; a merged customer's texts follow the survivor's basis.
PROFILED: Final = Q(event__customer__merged_into=None, event__customer__is_profiled=True) | Q(
    event__customer__merged_into__is_profiled=True
)


def said() -> QuerySet[EventText]:
    """Texts that count: the newest version of each, of people who may be profiled."""
    return EventText.objects.filter(PROFILED, event__superseded_at=None)


def fit_due(shop: Shop) -> TextModel | None:
    """Fit the earliest model that is lacking; None where none is. Raises NoEncoder."""
    known = [
        (row.as_of, bool(row.about.get("sentiment")))
        for row in TextModel.objects.order_by("as_of").defer("content")
    ]
    rows = list(said().order_by("event__occurred_at").values_list("event__occurred_at", "event__rating"))
    if not rows:
        return None
    instants = np.array([int(at.timestamp() * 1e6) for at, _rating in rows], dtype=np.int64)
    ratings = np.array([np.nan if rating is None else rating for _at, rating in rows], dtype=np.float64)
    wanted = next_date(local_days(instants, shop.zone), ratings, known, today=shop.today())
    return None if wanted is None else fit(wanted, shop)


def may_be_due(shop: Shop) -> bool:
    """A quick look whether `fit_due` could find anything to do, as time goes by."""
    newest = TextModel.objects.order_by("-as_of").values_list("as_of", flat=True).first()
    if newest is None:
        return True
    steps = (shop.today() - newest).days // REFIT_DAYS
    if steps < 1:
        return False
    span = midnight(newest, shop.zone), midnight(newest + timedelta(days=steps * REFIT_DAYS), shop.zone)
    between = said().filter(event__occurred_at__gte=span[0], event__occurred_at__lt=span[1])
    return len(between.values_list("pk", flat=True)[:FEWEST_NEW]) == FEWEST_NEW


def next_date(
    days: np.ndarray, ratings: np.ndarray, known: Sequence[tuple[date, bool]], *, today: date
) -> date | None:
    """The day of the earliest model that is lacking, at most today.

    days: (n,) day numbers of the texts, sorted. known: (day, tells good from bad) of the models there are, by day.
    """
    telling = _telling_day(days, ratings)
    talking = int(days[FEWEST_TEXTS - 1]) + 1 if len(days) >= FEWEST_TEXTS else None
    able = min((day for day in (telling, talking) if day is not None), default=None)
    wanted: list[int] = []
    if able is not None and (not known or able + REFIT_DAYS <= day_number(known[0][0])):
        wanted.append(able)
    for (earlier, _tells), (later, _) in pairwise(known):
        following = _following(days, day_number(earlier), until=day_number(later) - REFIT_DAYS)
        wanted += [] if following is None else [following]
    if known:
        newest, tells = day_number(known[-1][0]), known[-1][1]
        following = _following(days, newest, until=day_number(today))
        wanted += [] if following is None else [following]
        if not tells and telling is not None and telling > newest:
            wanted.append(telling)
    first = min(wanted, default=None)
    return None if first is None or first > day_number(today) else date(1970, 1, 1) + timedelta(days=first)


def _telling_day(days: np.ndarray, ratings: np.ndarray) -> int | None:
    """The day after there were enough good and enough bad ratings."""
    found = []
    for chosen in (ratings >= GOOD, ratings <= BAD):
        places = np.flatnonzero(chosen)
        if len(places) < FEWEST_OF_EACH:
            return None
        found.append(int(days[places[FEWEST_OF_EACH - 1]]) + 1)
    return max(found)


def _following(days: np.ndarray, after: int, *, until: int) -> int | None:
    """The first 90th day after a model by which enough was said anew."""
    for wanted in range(after + REFIT_DAYS, until + 1, REFIT_DAYS):
        if np.searchsorted(days, wanted) - np.searchsorted(days, after) >= FEWEST_NEW:
            return wanted
    return None


def fit(as_of: date, shop: Shop) -> TextModel:
    """Fit on the newest texts before the day, and store; one that another worker stored meanwhile stays."""
    before = midnight(as_of, shop.zone)
    rows = said().filter(event__occurred_at__lt=before).select_related("event__customer")
    chosen = list(rows.order_by("-event__occurred_at", "-pk")[:MOST_TEXTS])[::-1]
    texts = opened(chosen)
    kept = [row for row in chosen if texts.get(row.pk)]
    wanted = settings.TEXT_ENCODER
    encoder = encoders.name(wanted)
    sample = Sample(
        texts=[texts[row.pk] for row in kept],
        # A person with several accounts is one: what only they say is not kept.
        owners=np.array(
            [row.event.customer.merged_into_id or row.event.customer_id for row in kept], dtype=np.int64
        ),
        ratings=np.array([np.nan if row.event.rating is None else row.event.rating for row in kept]),
        vectors=vectors(kept, texts, wanted=wanted, encoder=encoder) if encoder else None,
    )
    earlier = TextModel.objects.filter(as_of__lt=as_of).order_by("-as_of").first()
    nearest = earlier or TextModel.objects.filter(as_of__gt=as_of).order_by("as_of").first()
    made = Fitted.fit(sample, encoder=encoder, before=None if nearest is None else load(nearest))
    content = made.to_bytes()
    row, created = TextModel.objects.get_or_create(
        as_of=as_of,
        defaults={
            "encoder": encoder,
            "about": made.about,
            "content": content,
            "sha256": hashlib.sha256(content).hexdigest(),
        },
    )
    if created:
        _reopen(row, shop)
    log.info("texts.fitted", text_model=row.pk, texts=len(kept), tells=made.has_sentiment)
    return row


def _reopen(row: TextModel, shop: Shop) -> None:
    """Texts that no model was early enough for, and this one is, wait anew."""
    since = midnight(row.as_of, shop.zone)
    unread = EventText.objects.filter(read_at__isnull=False, text_model=None, event__occurred_at__gte=since)
    EventText.objects.filter(pk__in=list(unread.values_list("pk", flat=True))).update(read_at=None)


def load(row: TextModel) -> Fitted:
    """The stored model. Raises ArtifactError where its bytes are not those that were stored."""
    return _loaded(row.pk, row.sha256)


@lru_cache(maxsize=4)
def _loaded(pk: int, sha256: str) -> Fitted:
    content = bytes(TextModel.objects.values_list("content", flat=True).get(pk=pk))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtifactError(
            "The text model's bytes are not those that were stored. Delete it, and it is fitted anew."
        )
    return Fitted.from_bytes(content)


def opened(rows: Iterable[EventText]) -> dict[int, str]:
    """Event → its text without what may name somebody; none of a text whose key is gone. rows: with their events."""
    listed = list(rows)
    owners = {row.event.customer_id for row in listed}
    keys = dict(
        bulk.values_in(ContactData.objects.all(), sorted(owners), "customer_id", "data_key", by="customer_id")
    )
    boxes: dict[int, Fernet] = {}
    texts = {}
    for row in listed:
        owner = row.event.customer_id
        try:
            if owner not in boxes:
                boxes[owner] = Fernet(crypto.decrypt(bytes(keys[owner])))
            texts[row.pk] = cleaned(boxes[owner].decrypt(bytes(row.sealed)).decode())
        except (KeyError, InvalidToken, crypto.DecryptionError):
            # Erased, or sealed under a key that this installation no longer has.
            continue
    return texts


def hashed(text: str) -> str:
    return crypto.pseudonym("text", text)


def vectors(rows: Sequence[EventText], texts: dict[int, str], *, wanted: str, encoder: str) -> np.ndarray:
    """(n, d) float16 of these rows; each distinct text is encoded once, and kept with its rows."""
    hashes = {row.pk: hashed(texts[row.pk]) for row in rows}
    known: dict[str, bytes] = {}
    for part in _parts(sorted(set(hashes.values()))):
        found = EventText.objects.filter(text_hash__in=part, encoder=encoder).exclude(vector=None)
        known.update((key, bytes(vector or b"")) for key, vector in found.values_list("text_hash", "vector"))
    missing = {hashes[row.pk]: texts[row.pk] for row in rows if hashes[row.pk] not in known}
    for some in _parts(sorted(missing), ENCODED_AT_ONCE):
        for key, vector in zip(some, encoders.encode([missing[key] for key in some], wanted), strict=True):
            known[key] = vector.tobytes()
        _keep(rows, hashes, {key: known[key] for key in some}, encoder)
    return np.stack([np.frombuffer(known[hashes[row.pk]], dtype=np.float16) for row in rows])


def _keep(rows: Sequence[EventText], hashes: dict[int, str], made: dict[str, bytes], encoder: str) -> None:
    """At once, so that a worker that is stopped has not worked in vain."""
    keys = ((row.pk, hashes[row.pk]) for row in rows if hashes[row.pk] in made)
    changed = [(pk, key, encoder, made[key]) for pk, key in keys]
    bulk.update(EventText, ("event_id", "text_hash", "encoder", "vector"), changed, keys=["event_id"])


def _parts(keys: Sequence[str], size: int = 500) -> Iterable[Sequence[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
