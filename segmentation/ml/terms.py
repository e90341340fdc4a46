"""A text as terms: words and pairs of words, and short runs of letters, each weighed by how rare it is.

Chinese, Japanese and Korean are written without spaces between words, so there a term is a pair of characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from scipy import sparse

MOST_TERMS: Final = 20_000
_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
# Ends with a space or where such writing begins: a digit in a Chinese sentence may not take the sentence with it.
_RUN: Final = rf"[^\s{_CJK}\u3000-\u303f\uff0c\uff01\uff1f\uff1b\uff1a]"
# What names a person or an order: addresses, links, and every run of characters with a digit in it.
_NAMING: Final = re.compile(rf"{_RUN}+@{_RUN}+|(?:https?://|www\.){_RUN}+|{_RUN}*\d{_RUN}*")
_WORD: Final = re.compile(rf"[{_CJK}]+|[^\W\d_{_CJK}]+(?:['’][^\W\d_]+)?")
_IS_CJK: Final = re.compile(rf"[{_CJK}]")
RUNS: Final = (3, 4, 5)

Split = Callable[[str], list[str]]


def cleaned(text: str) -> str:
    """The text without what may name somebody, in lower case, with single spaces."""
    return " ".join(_NAMING.sub(" ", text).casefold().replace("’", "'").split())


def words(text: str) -> list[str]:
    """Words of two letters or more; of a run without spaces its pairs of characters."""
    found: list[str] = []
    for word in _WORD.findall(text):
        if _IS_CJK.match(word):
            found += [word[i : i + 2] for i in range(max(len(word) - 1, 1))]
        elif len(word) > 1:
            found.append(word)
    return found


def phrases(text: str) -> list[str]:
    """Words, and pairs of words that follow each other: “not good” is no praise."""
    single = words(text)
    return [*single, *(f"{first} {second}" for first, second in pairwise(single))]


def runs(text: str) -> list[str]:
    """Three to five letters in a row within a word and its borders: endings and misspellings."""
    padded = (f" {word} " for word in _WORD.findall(text))
    return [word[i : i + n] for word in padded for n in RUNS for i in range(len(word) - n + 1)]


@dataclass(frozen=True)
class Weights:
    """Term frequency, damped, times inverse document frequency: rows of length 1 (or 0). idf: (terms,)."""

    terms: Mapping[str, int]
    idf: np.ndarray

    @classmethod
    def fit(cls, split: Sequence[Sequence[str]], owners: np.ndarray, *, fewest: int, most: int) -> Self:
        """A term is known only if at least `fewest` owners used it: nobody's own name or number is kept."""
        rows: Counter[str] = Counter()
        people: Counter[str] = Counter()
        seen: dict[Any, set[str]] = {}
        for owner, own in zip(owners.tolist(), split, strict=True):
            distinct = set(own)
            rows.update(distinct)
            known = seen.setdefault(owner, set())
            people.update(distinct - known)
            known |= distinct
        kept = sorted(term for term, count in people.items() if count >= fewest)
        kept = sorted(sorted(kept, key=lambda term: (-rows[term], term))[:most])
        counts = np.array([rows[term] for term in kept], dtype=np.float64)
        idf = np.log((1.0 + len(split)) / (1.0 + counts)) + 1.0
        return cls({term: place for place, term in enumerate(kept)}, idf)

    def apply(self, split: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """(texts, terms); a row does not depend on the other texts."""
        data, indices, indptr = [], [], [0]
        for own in split:
            counts = Counter(self.terms[term] for term in own if term in self.terms)
            places = np.array(sorted(counts), dtype=np.int64)
            values = (1.0 + np.log([counts[place] for place in places.tolist()])) * self.idf[places]
            length = np.sqrt((values**2).sum())
            data.append(values / length if length else values)
            indices.append(places)
            indptr.append(indptr[-1] + len(places))
        shape = (len(split), len(self.terms))
        if not split:
            return sparse.csr_matrix(shape, dtype=np.float64)
        return sparse.csr_matrix((np.concatenate(data), np.concatenate(indices), indptr), shape=shape)

    @property
    def ordered(self) -> list[str]:
        return list(self.terms)
