"""What a network over events looked at: shares of the events it read, and nothing where nothing attends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segmentation.ml import attention
from segmentation.ml.blend import Blend
from segmentation.ml.networks.events import EventEncoder, Events
from segmentation.ml.sequences import CHANNELS
from tests.segmentation.ml.conftest import created


def encoder(kind: str = "transformer") -> EventEncoder:
    torch.manual_seed(0)
    none = [0.0] * len(CHANNELS)
    return EventEncoder(encoder=kind, width=16, centre=none, spread=[1.0] * len(CHANNELS), dropout=0.0).eval()


def events(lengths: list[int], steps: int = 6) -> Events:
    draws = torch.Generator().manual_seed(1)
    held = torch.arange(steps) < torch.tensor(lengths).unsqueeze(1)
    numeric = torch.randn(len(lengths), steps, len(CHANNELS), generator=draws) * held.unsqueeze(-1)
    kinds = torch.ones(len(lengths), steps, dtype=torch.int16) * held
    return Events(numeric, kinds, torch.zeros(len(lengths), steps, dtype=torch.int64), torch.tensor(lengths))


def test_shares_add_up_over_the_events_that_are_there_and_padding_has_none():
    with torch.inference_mode():
        shares = encoder().looked_at(events([6, 2, 0]))
    assert shares.sum(dim=1).tolist() == pytest.approx([1.0, 1.0, 0.0], abs=1e-6)
    assert (shares[1, 2:] == 0).all()
    assert (shares >= 0).all()


def test_what_it_says_it_looks_at_is_what_its_answer_is_made_of():
    """The weights give the very state that the fused attention gives."""
    block = encoder().body.blocks[0]
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        query, key, value = block.parts(x)
        fused = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True).mean(
            dim=1
        )
        by_hand = block.weights(x)
    assert torch.allclose(by_hand.sum(-1), torch.ones(2, 5), atol=1e-6)
    assert (by_hand.triu(1) == 0).all()
    one_head = block.heads == 1
    if one_head:
        assert torch.allclose(by_hand @ value.squeeze(1), fused, atol=1e-5)
    assert query.shape[1] == block.heads


@pytest.mark.parametrize("kind", ["gru", "lstm", "conv"])
def test_an_encoder_without_attention_says_nothing(kind):
    assert encoder(kind).looked_at(events([3])) is None


def test_of_a_blend_it_is_the_mean_of_the_networks_that_attend(shop):
    quick = {"epochs": 1, "encoder_width": 16, "hidden": (16, 16), "ensemble": 2}
    few = shop.train.take(np.arange(300))
    held = shop.valid.take(np.arange(60))
    long = created("transformer", shop, **quick, sequence_events=8).fit(few, held)
    short = created("transformer", shop, **quick, sequence_events=3).fit(few, held)
    plain = created("gru", shop, **quick, sequence_events=8).fit(few, held)
    asked = shop.test.take(np.arange(20))
    alone = attention.looked_at(long, asked)
    lengths = asked.events.lengths
    assert alone.shape == asked.events.kinds.shape
    assert np.allclose(alone.sum(axis=1), lengths > 0, atol=1e-5)
    assert attention.looked_at(plain, asked) is None
    newest = attention.looked_at(short, asked)
    for row, length in enumerate(lengths.tolist()):
        assert (newest[row, : max(length - 3, 0)] == 0).all()
    mean = attention.looked_at(Blend([long, plain, short]), asked)
    assert np.allclose(mean, (alone + newest) / 2)
