"""Encoders of a customer's newest events: every one reads from the past forwards, so a state knows no later event.

Inputs are the arrays of ml/sequences.py as tensors: numeric (n, s, c), kinds (n, s), categories (n, s), lengths (n,),
with the oldest event first and zeros after the last. States are (n, s, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from segmentation.ml.sequences import CATEGORY_BITS, CHANNELS

KINDS = 64
HEADS = 4


class Events(NamedTuple):
    numeric: Tensor
    kinds: Tensor
    categories: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """(n, s) True where there is an event."""
        places = torch.arange(self.kinds.shape[1], device=self.kinds.device)
        return places < self.lengths.long().unsqueeze(1)


class EventInputs(nn.Module):
    """Standardised numbers, kind and product categories of each event, added up: -> (n, s, width)."""

    def __init__(
        self, *, width: int, centre: Sequence[float], spread: Sequence[float], dropout: float
    ) -> None:
        super().__init__()
        self.centre: Tensor
        self.spread: Tensor
        self.bits: Tensor
        self.register_buffer("centre", torch.tensor(list(centre), dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(list(spread), dtype=torch.float32))
        self.register_buffer("bits", torch.arange(CATEGORY_BITS), persistent=False)
        self.numbers = nn.Linear(len(CHANNELS), width)
        self.kinds = nn.Embedding(KINDS, width)
        self.categories = nn.Linear(CATEGORY_BITS, width, bias=False)
        self.finish = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout))

    def forward(self, events: Events) -> Tensor:
        numbers = self.numbers((events.numeric - self.centre) / self.spread)
        held = (events.categories.unsqueeze(-1) >> self.bits) & 1
        found = numbers + self.kinds(events.kinds.long().clamp(0, KINDS - 1))
        found = found + self.categories(held.to(numbers.dtype))
        return self.finish(found) * events.mask.unsqueeze(-1)


class Recurrent(nn.Module):
    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.body = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.body(x)[0]
        return states


class Convolutions(nn.Module):
    """Three causal convolutions of width 3 that look 1, 2 and 4 events apart: 15 events back in all."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=step) for step in (1, 2, 4))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            reach = 2 * int(layer.dilation[0])  # type: ignore[index]
            moved = layer(functional.pad(x.transpose(1, 2), (reach, 0))).transpose(1, 2)
            x = norm(x + self.dropout(functional.relu(moved)))
        return x


class Attention(nn.Module):
    """Two blocks of causal self-attention. Padding lies after the last event, so no event ever looks at it."""

    def __init__(self, width: int, dropout: float, blocks: int = 2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, dropout, causal=True) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    def looked_at(self, x: Tensor) -> Tensor:
        """(n, s, s) how much of each event a state is made of by attention: rollout (arXiv 2005.00928).

        Half of every block's output is what came in by the side of it.
        """
        whole = torch.eye(x.shape[1], device=x.device).expand(len(x), -1, -1)
        for block in self.blocks:
            own = torch.eye(x.shape[1], device=x.device)
            whole = (0.5 * block.weights(x) + 0.5 * own) @ whole  # type: ignore[operator]
            x = block(x)
        return whole


class Block(nn.Module):
    """Pre-norm attention and a feed-forward layer."""

    def __init__(self, width: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.heads = HEADS if width % HEADS == 0 else 1
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, (n, heads, s, width of a head) each."""
        rows, steps, width = x.shape
        parts = self.mix(self.before(x)).view(rows, steps, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def weights(self, x: Tensor) -> Tensor:
        """(n, s, s) what each event looks at, the mean over heads; rows add up to 1."""
        query, key, _value = self.parts(x)
        likeness = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        if self.causal:
            later = torch.ones(likeness.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            likeness = likeness.masked_fill(later, float("-inf"))
        return likeness.softmax(dim=-1).mean(dim=1)

    def forward(self, x: Tensor, *, first: int | None = None) -> Tensor:
        """(n, s, width) -> the same of every step; first: of so many first steps alone, which cost that much less."""
        query, key, value = self.parts(x)
        x = x[:, :first]
        found = functional.scaled_dot_product_attention(
            query[:, :, :first], key, value, is_causal=self.causal
        )
        x = x + self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.feed(self.between(x)))


class EventEncoder(nn.Module):
    """Events -> one vector a customer, (n, 2 * width): the state after the last event, and the largest of all states."""

    def __init__(
        self, *, encoder: str, width: int, centre: Sequence[float], spread: Sequence[float], dropout: float
    ) -> None:
        super().__init__()
        self.width = width
        # Set by whoever trains (ml/neural.py); it changes what is kept in memory and nothing else.
        self.recompute = False
        self.inputs = EventInputs(width=width, centre=centre, spread=spread, dropout=dropout)
        if encoder in ("gru", "lstm"):
            self.body: nn.Module = Recurrent(encoder, width)
        else:
            self.body = {"conv": Convolutions, "transformer": Attention}[encoder](width, dropout)

    def states(self, events: Events) -> Tensor:
        return self.body(self.inputs(events))

    def forward(self, events: Events) -> Tensor:
        if self.recompute and self.training:
            return self.pooled(checkpoint(self.states, events, use_reentrant=False), events)
        return self.pooled(self.states(events), events)

    def looked_at(self, events: Events) -> Tensor | None:
        """(n, s) shares of the events in the state after the last one, by attention; None for an encoder without."""
        if not isinstance(self.body, Attention):
            return None
        whole = self.body.looked_at(self.inputs(events))
        place = (events.lengths.long() - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, whole.shape[-1])
        return whole.gather(1, place).squeeze(1) * events.mask

    def pooled(self, states: Tensor, events: Events) -> Tensor:
        """A customer without events is a vector of zeros."""
        mask = events.mask.unsqueeze(-1)
        place = (events.lengths.long() - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, states.shape[-1])
        last = states.gather(1, place).squeeze(1)
        largest = states.masked_fill(~mask, torch.finfo(states.dtype).min).amax(dim=1)
        known = (events.lengths > 0).unsqueeze(-1)
        return torch.cat([last, largest], dim=1) * known


class EventNet(nn.Module):
    """Events alone -> (n, 1, outputs): what order of events says without any aggregate."""

    def __init__(
        self,
        *,
        encoder: str,
        outputs: int,
        hidden: Sequence[int],
        dropout: float,
        encoder_width: int,
        centre: Sequence[float],
        spread: Sequence[float],
        **_table: object,
    ) -> None:
        super().__init__()
        self.encoder = EventEncoder(
            encoder=encoder, width=encoder_width, centre=centre, spread=spread, dropout=dropout
        )
        self.head = nn.Sequential(
            nn.Linear(2 * encoder_width, hidden[0]),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden[0], outputs),
        )

    def forward(self, numeric: Tensor, categorical: Tensor, *events: Tensor) -> Tensor:
        return self.head(self.encoder(Events(*events))).unsqueeze(1)
