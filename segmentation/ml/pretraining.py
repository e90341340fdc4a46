"""What a network over events can learn before it sees a label: whose slices belong together, and what comes next.

Contrastive: two random slices of one customer's events shall lie nearer to each other than to other customers' (Babaev et
al. 2022, CoLES, arXiv 2002.08232; the loss is NT-Xent, Chen et al. 2020, arXiv 2002.05709). Next event: from the state
after each event its follower's kind, gap and amount. Only training rows are used, and only what lies before their cutoff.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmentation.ml.config import TrainingConfig
from segmentation.ml.datasets import TensorRows
from segmentation.ml.networks.events import KINDS, EventEncoder, Events
from segmentation.ml.sequences import CHANNELS

TEMPERATURE = 0.1
# A slice of fewer events says too little of whose it is.
FEWEST = 4
GAP, AMOUNT = CHANNELS.index("log_gap"), CHANNELS.index("log_amount")
RATE = 2e-3
MAX_GRADIENT = 1.0


class _Heads(nn.Module):
    """Used while pretraining alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width))
        self.kind = nn.Linear(width, KINDS)
        self.amounts = nn.Linear(width, 2)


def pretrain(
    encoder: EventEncoder, rows: TensorRows, config: TrainingConfig, *, generator: torch.Generator
) -> list[float]:
    """Teaches the encoder in place; returns the mean loss of each epoch."""
    long = torch.nonzero(rows.events[3] >= FEWEST).squeeze(1)
    if len(long) < 2:
        return []
    heads = _Heads(encoder.width).to(rows.numeric.device)
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=config.weight_decay)
    losses = []
    encoder.train()
    for _ in range(config.pretraining_epochs):
        order = long[torch.randperm(len(long), generator=generator).to(long.device)]
        total, steps = 0.0, 0
        for index in order.split(config.batch_size):
            if len(index) < 2:
                continue
            events = Events(*(values[index] for values in rows.events))
            optimiser.zero_grad(set_to_none=True)
            loss = _loss(encoder, heads, events, config, generator)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT)
            optimiser.step()
            total, steps = total + float(loss.detach()), steps + 1
        losses.append(total / max(steps, 1))
    return losses


def _loss(
    encoder: EventEncoder, heads: _Heads, events: Events, config: TrainingConfig, generator: torch.Generator
) -> Tensor:
    total = events.numeric.new_zeros(())
    if config.pretraining in ("contrastive", "both"):
        first, second = (heads.place(encoder(random_slice(events, generator))) for _ in range(2))
        total = total + same_customer_loss(first, second)
    if config.pretraining in ("next_event", "both"):
        total = total + next_event_loss(encoder, heads, events)
    return total


def random_slice(events: Events, generator: torch.Generator) -> Events:
    """A run of consecutive events of each customer, between half of them and all, moved to the front."""
    count, steps = events.kinds.shape
    device = events.kinds.device
    share = 0.5 + 0.5 * torch.rand(count, generator=generator).to(device)
    lengths = (events.lengths * share).ceil().long().clamp(min=1)
    room = (events.lengths.long() - lengths).clamp(min=0)
    start = (torch.rand(count, generator=generator).to(device) * (room + 1)).long().clamp(max=steps - 1)
    place = (start.unsqueeze(1) + torch.arange(steps, device=device)).clamp(max=steps - 1)
    inside = torch.arange(steps, device=device) < lengths.unsqueeze(1)
    wide = place.unsqueeze(-1).expand(-1, -1, events.numeric.shape[2])
    return Events(
        events.numeric.gather(1, wide) * inside.unsqueeze(-1),
        events.kinds.gather(1, place) * inside,
        events.categories.gather(1, place) * inside,
        lengths,
    )


def same_customer_loss(first: Tensor, second: Tensor) -> Tensor:
    """(n, d) twice: each row's partner among all other rows of both."""
    count = len(first)
    both = functional.normalize(torch.cat([first, second]), dim=1)
    likeness = both @ both.T / TEMPERATURE
    likeness.fill_diagonal_(float("-inf"))
    partners = torch.arange(2 * count, device=first.device).roll(count)
    return functional.cross_entropy(likeness, partners)


def next_event_loss(encoder: EventEncoder, heads: _Heads, events: Events) -> Tensor:
    """Kind by cross-entropy, standardised gap and amount by a loss that large orders do not rule."""
    states = encoder.states(events)[:, :-1]
    follows = events.mask[:, 1:]
    known = states[follows]
    kinds = events.kinds[:, 1:][follows].long().clamp(0, KINDS - 1)
    inputs = encoder.inputs
    scaled = ((events.numeric - inputs.centre) / inputs.spread)[:, 1:][follows]
    wanted = scaled[:, [GAP, AMOUNT]]
    return functional.cross_entropy(heads.kind(known), kinds) + functional.smooth_l1_loss(
        heads.amounts(known), wanted
    )
