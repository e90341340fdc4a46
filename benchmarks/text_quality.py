"""How well texts are told good from bad: words and letters alone, the encoder's vector alone, both joined.

    python -m benchmarks.text_quality $TIERWISE_DATA/uci_sentiment_amazon/amazon_cells_labelled.csv.gz

Folds of scikit-learn's StratifiedKFold(5, shuffle=True, random_state=0); nothing was tuned on them. Accuracy and AUC with
95 % bootstrap intervals over texts, and the paired difference of the joined model from words and letters alone.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from segmentation.ml import encoders, terms
from segmentation.ml.text import BAD, GOOD, STRENGTH, Sample, TextModel

FOLDS, ROUNDS = 5, 2000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="CSV with the columns text and label (1: good)")
    parser.add_argument(
        "--encoder", default=encoders.AUTOMATIC, help="folder of a sentence-transformers model"
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = pl.read_csv(given.file)
    good = rows["label"].to_numpy() == 1
    said = [terms.cleaned(text) for text in rows["text"]]
    figures = measured(said, good, encoder=given.encoder)
    print(json.dumps(figures, indent=2))
    if given.out:
        given.out.write_text(json.dumps(figures, indent=2))


def measured(said: list[str], good: np.ndarray, *, encoder: str) -> dict[str, object]:
    named, vectors, seconds = encoders.name(encoder), None, 0.0
    if named:
        started = time.perf_counter()
        vectors = encoders.encode(said, encoder)
        seconds = time.perf_counter() - started
    whole = Sample(said, np.arange(len(said)), np.where(good, GOOD, BAD), vectors)
    answers = {"words and letters": _folds(whole, good, "")}
    if named:
        answers["vector"] = _vector_alone(whole, good)
        answers["joined"] = _folds(whole, good, named)
    draws = np.random.default_rng(0).integers(0, len(good), (ROUNDS, len(good)))
    found: dict[str, object] = {"texts": len(good), "encoder": named, "texts a second": None}
    if seconds:
        found["texts a second"] = round(len(good) / seconds, 1)
    for name, sentiment in answers.items():
        found[name] = {metric: _interval(draws, good, sentiment, metric) for metric in ("accuracy", "auc")}
    if named:
        base = answers["words and letters"]
        found["joined minus words and letters"] = {
            metric: _interval(draws, good, answers["joined"], metric, base) for metric in ("accuracy", "auc")
        }
    return found


def _splits(good: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(np.zeros(len(good)), good))


def _folds(whole: Sample, good: np.ndarray, encoder: str) -> np.ndarray:
    """(n,) the sentiment of each text by the model that has not seen it."""
    sentiment = np.zeros(len(good))
    for train, test in _splits(good):
        model = TextModel.fit(whole.take(train), encoder=encoder)
        own = whole.take(test)
        sentiment[test] = model.read(own.texts, own.vectors).sentiment
    return sentiment


def _vector_alone(whole: Sample, good: np.ndarray) -> np.ndarray:
    sentiment = np.zeros(len(good))
    vectors = sparse.csr_matrix(np.asarray(whole.vectors, dtype=np.float64))
    for train, test in _splits(good):
        model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
        sentiment[test] = model.fit(vectors[train], good[train]).decision_function(vectors[test])
    return sentiment


def _interval(
    draws: np.ndarray, good: np.ndarray, sentiment: np.ndarray, metric: str, base: np.ndarray | None = None
) -> list[float]:
    """[value, low, high]; of the difference from `base` where one is given."""

    def value(rows: np.ndarray) -> float:
        def of(answer: np.ndarray) -> float:
            if metric == "auc":
                return float(roc_auc_score(good[rows], answer[rows]))
            return float(((answer[rows] > 0) == good[rows]).mean())

        return of(sentiment) - (of(base) if base is not None else 0.0)

    drawn = [value(rows) for rows in draws]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(number, 4) for number in (value(np.arange(len(good))), float(low), float(high))]


if __name__ == "__main__":
    main()
