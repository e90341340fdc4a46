"""Encoded rows and labels as tensors, and the order in which a fit walks them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segmentation.ml.preprocessing import Encoded
from segmentation.ml.schema import Frame, LearningError, Target
from segmentation.ml.sequences import Sequences


@dataclass(frozen=True)
class TensorRows:
    """numeric (n, p) float32, categorical (n, c) int64, labels name -> (n,) float32 on one device.

    events: the arrays of ml/sequences.py, or none.
    """

    numeric: Tensor
    categorical: Tensor
    labels: dict[str, Tensor]
    events: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.numeric)

    def take(self, index: Tensor) -> TensorRows:
        labels = {name: values[index] for name, values in self.labels.items()}
        events = tuple(values[index] for values in self.events)
        return TensorRows(self.numeric[index], self.categorical[index], labels, events)


def tensor_rows(
    encoded: Encoded,
    frame: Frame,
    targets: Sequence[Target],
    *,
    device: str,
    events: Sequences | None = None,
) -> TensorRows:
    absent = [target.name for target in targets if target.name not in frame.labels]
    if absent:
        raise LearningError(f"The training frame has no labels for: {', '.join(absent)}.")
    labels = {t.name: np.asarray(frame.labels[t.name], dtype=np.float32) for t in targets}
    return TensorRows(
        numeric=torch.tensor(encoded.numeric, device=device),
        categorical=torch.tensor(encoded.categorical, device=device),
        labels={name: torch.tensor(values, device=device) for name, values in labels.items()},
        events=() if events is None else tuple(torch.tensor(a, device=device) for a in events.arrays),
    )


def shuffled_batches(rows: TensorRows, *, size: int, generator: torch.Generator) -> Iterator[TensorRows]:
    """Every row once in random order; the generator is the fit's own, so the order repeats with its seed."""
    order = torch.randperm(len(rows), generator=generator).to(rows.numeric.device)
    for index in order.split(size):
        yield rows.take(index)


def ordered_batches(rows: TensorRows, *, size: int) -> Iterator[TensorRows]:
    for index in torch.arange(len(rows), device=rows.numeric.device).split(size):
        yield rows.take(index)
