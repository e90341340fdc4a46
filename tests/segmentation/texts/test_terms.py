"""Terms, weights and topics, without a database."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.ml import terms
from segmentation.ml.terms import Weights
from segmentation.ml.topics import TOPICS, Topics


def test_what_may_name_somebody_never_becomes_a_term():
    said = terms.cleaned(
        "Dr. Ann@example.com: call 0151-2345, order A17B or www.my.example/ann — GREAT  lamp"
    )
    assert said == "dr. call order or — great lamp"


def test_a_digit_in_a_sentence_without_spaces_takes_only_itself_along():
    said = terms.cleaned("我买了2个，质量很好！联系ann@example.com或13912345678，订单A17B没收到")
    assert said == "我买了 个，质量很好！联系 或 ，订单 没收到"


def test_words_of_chinese_are_pairs_of_characters():
    assert terms.words("质量很好 good") == ["质量", "量很", "很好", "good"]
    assert terms.words("好") == ["好"]


def test_pairs_of_words_keep_a_negation_beside_what_it_denies():
    assert "not good" in terms.phrases("it is not good")


def test_a_term_that_one_person_uses_ever_so_often_is_not_kept():
    split = [["ann", "lamp"]] * 50 + [["lamp"], ["lamp"]]
    owners = np.array([7] * 50 + [8, 9])
    assert Weights.fit(split, owners, fewest=3, most=100).ordered == ["lamp"]


def test_the_weights_of_a_text_do_not_depend_on_the_texts_beside_it():
    split = [["a", "b"], ["b", "c", "c"], ["a"], []]
    weights = Weights.fit(split, np.arange(4), fewest=1, most=10)
    whole = weights.apply(split).toarray()
    assert (np.vstack([weights.apply([own]).toarray() for own in split]) == whole).all()
    assert np.linalg.norm(whole, axis=1) == pytest.approx([1, 1, 1, 0])


def _about(*subjects: str, each: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words.split(), 5)) for words in subjects for _ in range(each)]


SUBJECTS = (
    "parcel courier delivery doorstep late tracking",
    "refund invoice charged card payment bank",
    "lamp bulb light bright shade glow",
    "cotton towel soft wash fabric colour",
    "teapot lid pour tea spout handle",
    "puzzle children toy pieces play game",
)


def test_topics_keep_their_numbers_when_they_are_found_anew():
    def fitted(seed, subjects, before=None):
        split = [terms.phrases(text) for text in _about(*subjects, each=30, seed=seed)]
        weights = Weights.fit(split, np.arange(len(split)), fewest=3, most=1000)
        return Topics.fit(weights.apply(split), weights.ordered, before=before), weights

    first, words = fitted(1, SUBJECTS)
    second, others = fitted(2, SUBJECTS[::-1], before=(first, words.ordered))
    names = [first.names(words.ordered), second.names(others.ordered)]
    found = []
    for own in names:
        found.append([next(s for s, said in enumerate(SUBJECTS) if topic[0] in said) for topic in own])
    assert sorted(found[0]) == list(range(TOPICS))
    assert found[1] == found[0]
    assert (second.likeness > 0.8).all()


def test_a_text_about_nothing_known_has_no_topic():
    split = [terms.phrases(text) for text in _about(*SUBJECTS, each=30, seed=1)]
    weights = Weights.fit(split, np.arange(len(split)), fewest=3, most=1000)
    topics = Topics.fit(weights.apply(split), weights.ordered)
    found = topics.of(weights.apply([["unheard"], terms.phrases("the courier was late with my parcel")]))
    assert found[0] == 0
    assert "courier" in topics.names(weights.ordered)[found[1] - 1] or found[1] > 0
