"""What a text says: from -1 (bad) to 1 (good), and what it is about.

Good and bad are learned from texts with a rating, by a linear model over words, runs of letters and, where an encoder is
there, its frozen vector (ml/encoders.py). What is stored are terms that several people used, and numbers: never a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import orjson
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy import sparse
from scipy.special import expit

from segmentation.ml import terms
from segmentation.ml.storage import ArtifactError
from segmentation.ml.terms import MOST_TERMS, Weights
from segmentation.ml.topics import TOPICS, Topics

# Ratings of 5 that count as good and as bad; what lies between teaches nothing.
GOOD, BAD = 4.0, 2.0
FEWEST_OF_EACH: Final = 40
# A term that fewer people used is not kept.
FEWEST_OWNERS: Final = 3
# Of the two strengths of a linear model's penalty tried by others, the milder one: texts are short.
STRENGTH: Final = 4.0
HELD_BACK: Final = 0.2
DECIMALS: Final = 4


@dataclass(frozen=True)
class Sample:
    """n texts, cleaned (ml/terms.py), oldest first. owners: (n,) ids. ratings: (n,) of 5 or NaN. vectors: (n, d) or None."""

    texts: Sequence[str]
    owners: np.ndarray
    ratings: np.ndarray
    vectors: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Sample:
        vectors = None if self.vectors is None else self.vectors[rows]
        texts = [self.texts[row] for row in rows.tolist()]
        return Sample(texts, self.owners[rows], self.ratings[rows], vectors)

    # Both are asked for several times of one sample, and dear to make.
    @cached_property
    def phrases(self) -> list[list[str]]:
        return [terms.phrases(text) for text in self.texts]

    @cached_property
    def runs(self) -> list[list[str]]:
        return [terms.runs(text) for text in self.texts]

    @property
    def opinions(self) -> np.ndarray:
        """Rows whose rating says good or bad."""
        return np.flatnonzero((self.ratings >= GOOD) | (self.ratings <= BAD))


@dataclass(frozen=True)
class Reading:
    """(n,) sentiments from -1 to 1 (NaN where the model knows none) and topics from 1 on (0: none)."""

    sentiment: np.ndarray
    topic: np.ndarray


@dataclass
class TextModel:
    """Fitted on texts; `about` holds what it was fitted on and how well it tells good from bad."""

    words: Weights
    letters: Weights
    topics: Topics
    # (words + letters + vector,) or empty where ratings were too few.
    coefficients: np.ndarray
    intercept: float = 0.0
    encoder: str = ""
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, sample: Sample, *, encoder: str = "", before: TextModel | None = None) -> Self:
        """Learns from all of the sample; the figures are those of a like model that has not seen its newest fifth."""
        made = cls._fitted(sample, encoder=encoder, before=before)
        good = int((sample.ratings >= GOOD).sum())
        bad = int((sample.ratings <= BAD).sum())
        topic = made.topics.of(made.words.apply(sample.phrases))
        made.about = {
            "texts": len(sample.texts),
            "good": good,
            "bad": bad,
            "sentiment": made.has_sentiment,
            "test": _tested(cls, sample, encoder=encoder) if made.has_sentiment else None,
            "topics": [
                {
                    "number": number + 1,
                    "words": own,
                    "texts": int((topic == number + 1).sum()),
                    "likeness": None if np.isnan(like) else round(float(like), 3),
                }
                for number, (own, like) in enumerate(
                    zip(made.topics.names(made.words.ordered), made.topics.likeness, strict=True)
                )
            ],
        }
        return made

    @classmethod
    def _fitted(
        cls, sample: Sample, *, encoder: str, before: TextModel | None = None, with_topics: bool = True
    ) -> Self:
        words = Weights.fit(sample.phrases, sample.owners, fewest=FEWEST_OWNERS, most=MOST_TERMS)
        made = cls(
            words=words,
            letters=Weights.fit(sample.runs, sample.owners, fewest=FEWEST_OWNERS, most=MOST_TERMS),
            topics=Topics(np.zeros((TOPICS, len(words.idf))), np.full(TOPICS, np.nan)),
            coefficients=np.zeros(0),
            encoder=encoder,
        )
        rows, whole = made._inputs(sample)
        if with_topics:
            earlier = None if before is None else (before.topics, before.words.ordered)
            made.topics = Topics.fit(rows, made.words.ordered, before=earlier)
        made._learn_sentiment(sample, whole)
        return made

    def _learn_sentiment(self, sample: Sample, whole: sparse.csr_matrix) -> None:
        from sklearn.linear_model import LogisticRegression

        chosen = sample.opinions
        good = sample.ratings[chosen] >= GOOD
        if min(good.sum(), (~good).sum()) < FEWEST_OF_EACH or not whole.shape[1]:
            return
        model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
        model.fit(whole[chosen], good)
        self.coefficients, self.intercept = model.coef_[0], float(model.intercept_[0])

    @property
    def has_sentiment(self) -> bool:
        return bool(len(self.coefficients))

    def read(self, texts: Sequence[str], vectors: np.ndarray | None = None) -> Reading:
        """A text's reading does not depend on the texts beside it. vectors: of the encoder it was fitted with."""
        count = len(texts)
        rows, whole = self._inputs(Sample(texts, np.zeros(count), np.full(count, np.nan), vectors))
        sentiment = np.full(count, np.nan)
        if self.has_sentiment:
            chance = expit(np.asarray(whole @ self.coefficients) + self.intercept)
            sentiment = np.round(2.0 * chance - 1.0, DECIMALS)
        return Reading(sentiment, self.topics.of(rows))

    def _inputs(self, sample: Sample) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """(n, words) and (n, words + letters + vector)."""
        rows = self.words.apply(sample.phrases)
        parts = [rows, self.letters.apply(sample.runs)]
        if self.encoder:
            if sample.vectors is None:
                raise ArtifactError(f"These texts have no vectors of {self.encoder}, which the model needs.")
            parts.append(sparse.csr_matrix(np.asarray(sample.vectors, dtype=np.float64)))
        return rows, sparse.csr_matrix(sparse.hstack(parts, format="csr"))

    def to_bytes(self) -> bytes:
        """Safetensors with a JSON description beside the numbers: no code."""
        described = {
            "words": self.words.ordered,
            "letters": self.letters.ordered,
            "intercept": self.intercept,
            "encoder": self.encoder,
            "about": self.about,
        }
        return save(
            {
                "described": np.frombuffer(orjson.dumps(described), dtype=np.uint8),
                "word_idf": self.words.idf,
                "letter_idf": self.letters.idf,
                "coefficients": np.ascontiguousarray(self.coefficients),
                "topics": np.ascontiguousarray(self.topics.weights.astype(np.float32)),
                "likeness": self.topics.likeness,
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        try:
            kept = load(content)
            described = orjson.loads(kept["described"].tobytes())
        except (SafetensorError, KeyError, orjson.JSONDecodeError) as error:
            raise ArtifactError("The text model cannot be read.") from error
        words, letters = (
            {term: place for place, term in enumerate(described[name])} for name in ("words", "letters")
        )
        return cls(
            words=Weights(words, kept["word_idf"]),
            letters=Weights(letters, kept["letter_idf"]),
            topics=Topics(kept["topics"].astype(np.float64), kept["likeness"]),
            coefficients=kept["coefficients"],
            intercept=described["intercept"],
            encoder=described["encoder"],
            about=described["about"],
        )


def _tested(cls: type[TextModel], sample: Sample, *, encoder: str) -> dict[str, Any] | None:
    """AUC and accuracy on the newest fifth of the rated texts, learned from the older ones; None where too few."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    rated = sample.opinions
    cut = int(len(rated) * (1.0 - HELD_BACK))
    older, newer = sample.take(rated[:cut]), sample.take(rated[cut:])
    good = newer.ratings >= GOOD
    made = cls._fitted(older, encoder=encoder, with_topics=False)
    if not made.has_sentiment or good.all() or not good.any():
        return None
    sentiment = made.read(newer.texts, newer.vectors).sentiment
    return {
        "texts": len(newer.texts),
        "auc": round(float(roc_auc_score(good, sentiment)), 4),
        "balanced_accuracy": round(float(balanced_accuracy_score(good, sentiment > 0)), 4),
    }
