"""Good from bad: fitted, stored without code, read back the same."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import accuracy_score

from segmentation.ml import terms
from segmentation.ml.storage import ArtifactError
from segmentation.ml.text import Sample, TextModel

FLOOR = 0.70


def sample(texts, ratings, vectors=None) -> Sample:
    said = [terms.cleaned(text) for text in texts]
    return Sample(said, np.arange(len(said)), np.asarray(ratings, dtype=float), vectors)


@pytest.fixture(scope="module")
def opinions():
    rng = np.random.default_rng(3)
    good, bad = ["love", "great", "happy", "excellent"], ["awful", "broken", "waste", "rude"]
    rest = ["the", "lamp", "teapot", "came", "on", "monday", "with", "a", "box", "for", "my", "table"]
    texts = [
        " ".join([*rng.choice(rest, 4), rng.choice(good if n % 2 else bad), *rng.choice(rest, 2)])
        for n in range(240)
    ]
    return sample(texts, [5.0 if n % 2 else 1.0 for n in range(240)])


def test_it_tells_good_from_bad_and_comes_back_from_its_bytes_the_same(opinions):
    model = TextModel.fit(opinions)
    said = ["an excellent teapot", "a broken lamp", "on monday"]
    found = model.read(said)
    assert found.sentiment[0] > 0.4 > -0.4 > found.sentiment[1]
    assert model.about["test"]["auc"] > 0.95
    assert model.about["texts"] == 240
    again = TextModel.from_bytes(model.to_bytes()).read(said)
    assert (again.sentiment == found.sentiment).all()
    assert (again.topic == found.topic).all()


def test_a_text_reads_the_same_whatever_is_read_beside_it(opinions):
    model = TextModel.fit(opinions)
    whole = model.read(opinions.texts[:40])
    alone = [model.read([text]) for text in opinions.texts[:40]]
    assert [one.sentiment[0] for one in alone] == whole.sentiment.tolist()
    assert [one.topic[0] for one in alone] == whole.topic.tolist()


def test_with_too_few_ratings_it_knows_no_sentiment(opinions):
    model = TextModel.fit(sample(opinions.texts, np.full(240, 5.0)))
    assert np.isnan(model.read(["great"]).sentiment).all()
    assert model.about["sentiment"] is False


def test_ratings_without_a_word_in_common_teach_nothing():
    model = TextModel.fit(sample(["12345"] * 100, [5.0, 1.0] * 50))
    assert np.isnan(model.read(["great"]).sentiment).all()
    assert model.about["sentiment"] is False


def test_no_whole_text_is_in_what_is_stored(opinions):
    secret = "my neighbour frederick at number nine is a fool"
    told = sample([*opinions.texts, secret], [*opinions.ratings, 1.0])
    stored = TextModel.fit(told).to_bytes()
    assert b"frederick" not in stored
    assert not any(text.encode() in stored for text in told.texts)


def test_broken_bytes_are_refused():
    with pytest.raises(ArtifactError):
        TextModel.from_bytes(b"\x80\x04pickle")


def test_without_the_vectors_of_its_encoder_it_refuses_to_guess(opinions):
    vectors = np.random.default_rng(0).normal(size=(240, 8)).astype(np.float16)
    model = TextModel.fit(sample(opinions.texts, opinions.ratings, vectors), encoder="small:1")
    with pytest.raises(ArtifactError, match="small:1"):
        model.read(["great"])


def test_real_sentences_by_words_alone(public_data):
    """UCI 331, every fifth held out; TF-IDF alone."""
    rows = pl.read_csv(public_data / "uci_sentiment_amazon" / "amazon_cells_labelled.csv.gz")
    told = sample(rows["text"].to_list(), np.where(rows["label"].to_numpy() == 1, 5.0, 1.0))
    test = np.arange(len(rows)) % 5 == 0
    model = TextModel.fit(told.take(np.flatnonzero(~test)))
    found = model.read([text for text, held in zip(told.texts, test, strict=True) if held]).sentiment
    assert accuracy_score(told.ratings[test] > 3, found > 0) > FLOOR
