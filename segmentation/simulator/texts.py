"""Sentences for reviews, tickets and complaints, composed from the word lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from . import words
from .population import Ints

# rating: the banks a review draws from, one sentence each; and banks used only some of the time.
_REVIEW_PLANS: dict[int, tuple[tuple[Sequence[str], ...], tuple[tuple[Sequence[str], float], ...]]] = {
    5: (
        (words.PRAISE_OPENINGS, words.PRAISE_DETAILS),
        ((words.PRAISE_DETAILS, 0.4), (words.PRAISE_CLOSINGS, 0.6)),
    ),
    4: (
        (words.PRAISE_OPENINGS,),
        ((words.PRAISE_DETAILS, 0.6), (words.MILD_CRITICISM, 0.35), (words.PRAISE_CLOSINGS, 0.2)),
    ),
    3: ((words.NEUTRAL,), ((words.MILD_PRAISE, 0.45), (words.MILD_CRITICISM, 0.5), (words.NEUTRAL, 0.3))),
    2: (
        (words.BLAME_OPENINGS,),
        ((words.BLAME_DETAILS, 0.6), (words.MILD_PRAISE, 0.3), (words.BLAME_CLOSINGS, 0.2)),
    ),
    1: (
        (words.BLAME_OPENINGS, words.BLAME_DETAILS),
        ((words.BLAME_DETAILS, 0.4), (words.BLAME_CLOSINGS, 0.6)),
    ),
}


def item_names(names: Sequence[str]) -> list[str]:
    """What people call a product: its name without the style, in lower case."""
    return [name.split(" ", 1)[1].lower() for name in names]


def reviews(rng: np.random.Generator, ratings: Ints, items: Iterable[str]) -> list[str]:
    """One review for each rating 1..5 and item; the sentences agree with the rating."""
    u = rng.random((len(ratings), 10))
    return [
        " ".join(_review_sentences(int(rating), row)).replace("{item}", item)
        for rating, row, item in zip(ratings, u.tolist(), items, strict=True)
    ]


def malicious_reviews(rng: np.random.Generator, items: Iterable[str]) -> list[str]:
    return _pick(rng, words.MALICIOUS, items)


def complaints(rng: np.random.Generator, items: Iterable[str]) -> list[str]:
    return _pick(rng, words.COMPLAINTS, items)


def chargebacks(rng: np.random.Generator, items: Iterable[str]) -> list[str]:
    return _pick(rng, words.CHARGEBACKS, items)


def ticket_subjects(rng: np.random.Generator, topics: Sequence[str], items: Iterable[str]) -> list[str]:
    u = rng.random(len(topics)).tolist()
    return [
        _sentence(_at(words.TICKET_SUBJECTS[topic], part).replace("{item}", item))
        for topic, item, part in zip(topics, items, u, strict=True)
    ]


def _review_sentences(rating: int, u: Sequence[float]) -> list[str]:
    always, sometimes = _REVIEW_PLANS[rating]
    sentences = [_at(bank, u[index]) for index, bank in enumerate(always)]
    for index, (bank, share) in enumerate(sometimes):
        if u[3 + 2 * index] < share:
            sentences.append(_at(bank, u[4 + 2 * index]))
    return list(dict.fromkeys(sentences))


def _pick(rng: np.random.Generator, bank: Sequence[str], items: Iterable[str]) -> list[str]:
    return [_at(bank, rng.random()).replace("{item}", item) for item in items]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _at(bank: Sequence[str], part: float) -> str:
    return bank[int(part * len(bank))]
