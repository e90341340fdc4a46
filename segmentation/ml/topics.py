"""What texts are about: a few topics as weighted words, found by non-negative factors of the word weights.

Lee and Seung 1999, Nature 401. A refit starts from the topics before and takes the best match of all, so that topic 3 stays
topic 3. Which topic a text has is its likeness to each, whatever texts are read beside it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

TOPICS: Final = 6
NAMING_WORDS: Final = 4
# A text that is less like every topic than this has none.
LEAST_LIKENESS: Final = 0.12
# A word in more than this share of the texts says nothing of what one is about.
TOO_COMMON: Final = 0.25
FEWEST_TEXTS: Final = 60
ROUNDS: Final = 200


@dataclass(frozen=True)
class Topics:
    """weights: (topics, terms) rows of length 1 or 0. likeness: (topics,) to the topic of that number before, or NaN."""

    weights: np.ndarray
    likeness: np.ndarray

    @classmethod
    def fit(
        cls,
        rows: sparse.csr_matrix,
        terms: Sequence[str],
        *,
        before: tuple[Self, Sequence[str]] | None = None,
    ) -> Self:
        """(texts, terms) word weights -> topics; none of them where texts are too few to have any."""
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        share = np.asarray((rows > 0).mean(axis=0)).ravel()
        tells = np.array([term not in ENGLISH_STOP_WORDS and " " not in term for term in terms], dtype=bool)
        kept = np.flatnonzero(tells & (share <= TOO_COMMON))
        empty = cls(np.zeros((TOPICS, len(terms))), np.full(TOPICS, np.nan))
        if rows.shape[0] < FEWEST_TEXTS or len(kept) < TOPICS:
            return empty
        chosen = sparse.csr_matrix(rows[:, kept])
        with warnings.catch_warnings():
            # The rounds are a bound on time: topics that are still moving a little are good enough.
            warnings.filterwarnings("ignore", category=ConvergenceWarning)
            found = NMF(TOPICS, init="nndsvda", random_state=0, max_iter=ROUNDS).fit(chosen).components_
        weights = np.zeros((TOPICS, len(terms)))
        weights[:, kept] = found
        lengths = np.linalg.norm(weights, axis=1, keepdims=True)
        weights = np.divide(weights, lengths, out=np.zeros_like(weights), where=lengths > 0)
        if before is None or not before[0].weights.any():
            return cls(weights, empty.likeness)
        return cls(*_numbered(weights, _over(before[0].weights, before[1], terms)))

    def of(self, rows: sparse.csr_matrix) -> np.ndarray:
        """(texts,) the number of the likeliest topic from 1 on; 0 for none."""
        kept = self.weights.any(axis=0)
        own = sparse.csr_matrix(rows.multiply(kept))
        lengths = np.sqrt(np.asarray(own.multiply(own).sum(axis=1)).ravel())
        likeness = np.asarray(own @ self.weights.T) / np.maximum(lengths, 1e-12)[:, None]
        # Rounded, so that the last bits of a sum decide nothing.
        likeness = np.round(likeness, 9)
        best = likeness.argmax(axis=1)
        return np.where(likeness[np.arange(len(best)), best] >= LEAST_LIKENESS, best + 1, 0)

    def names(self, terms: Sequence[str]) -> list[list[str]]:
        """The heaviest words of each topic."""
        return [
            [terms[place] for place in np.argsort(-row, kind="stable")[:NAMING_WORDS] if row[place] > 0]
            for row in self.weights
        ]


def _over(weights: np.ndarray, terms: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Earlier topics over the terms of today."""
    place = {term: number for number, term in enumerate(wanted)}
    both = [(old, place[term]) for old, term in enumerate(terms) if term in place]
    found = np.zeros((len(weights), len(wanted)))
    if both:
        old, new = np.array(both).T
        found[:, new] = weights[:, old]
    return found


def _numbered(weights: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Topics under the numbers of the earlier ones they are most like, and how like they are."""
    likeness = before @ weights.T
    numbers, chosen = linear_sum_assignment(-likeness)
    return weights[chosen], likeness[numbers, chosen]
