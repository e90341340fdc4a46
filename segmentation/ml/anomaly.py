"""How unusual a customer is: an isolation forest and an autoencoder, each as a percentile of the customers learned from.

The forest's trees are kept as arrays and walked here: path lengths as in Liu, Ting and Zhou, "Isolation Forest" (2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from segmentation.ml import storage
from segmentation.ml.batching import in_fixed_batches
from segmentation.ml.classical import one_hot
from segmentation.ml.config import TrainingConfig
from segmentation.ml.preprocessing import Preprocessor
from segmentation.ml.schema import (
    Column,
    EpochReport,
    Frame,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
)
from segmentation.ml.threads import one_thread

TREES, TREE_ROWS = 100, 256
NARROW, WIDE = 8, 32
EPOCHS, BATCH, RATE = 30, 256, 3e-3
KNOTS = 1001
EULER = 0.5772156649


class AnomalyEstimator:
    """Unsupervised: labels are not read. The answer's mean is the percentile, 0 to 1."""

    name: ClassVar[str] = "anomaly"

    def __init__(
        self, *, targets: Sequence[Target], columns: Sequence[Column], config: TrainingConfig | None = None
    ) -> None:
        self.targets = tuple(targets)
        self.columns = tuple(columns)
        self.config = config or TrainingConfig()

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        self.preprocessor_ = Preprocessor.fit(train.x, self.columns)
        x = self.inputs(train)
        self.forest_ = _forest(x, self.config.seed)
        self.coder_ = _coder(x, self.config.seed, on_epoch_end)
        self.knots_ = {name: _knots(scores) for name, scores in self.parts(x).items()}
        self.knots_["both"] = _knots(self._both(x))
        return self

    def predict(self, frame: Frame) -> Prediction:
        with one_thread():
            both = self._both(self.inputs(frame))
        mean = _percentile(both, self.knots_["both"])
        return {target.name: TargetPrediction(mean=mean) for target in self.targets}

    def parts(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Raw scores by method, higher is more unusual."""
        return {
            "forest": in_fixed_batches(self._forest_score, x),
            "autoencoder": in_fixed_batches(self._error, x),
        }

    def percentiles(self, frame: Frame) -> dict[str, np.ndarray]:
        """(n,) percentile by each method."""
        return {
            name: _percentile(scores, self.knots_[name])
            for name, scores in self.parts(self.inputs(frame)).items()
        }

    def inputs(self, frame: Frame) -> np.ndarray:
        return one_hot(self.preprocessor_.transform(frame.x), self.preprocessor_.category_sizes)

    def save(self, directory: Path) -> None:
        described, tensors = self.preprocessor_.state()
        whole = {
            "targets": [target.to_json() for target in self.targets],
            "columns": [column.to_json() for column in self.columns],
            "config": self.config.to_json(),
            "preprocessing": described,
        }
        storage.write_json(directory / "model.json", whole)
        state = storage.with_prefix("preprocessing", tensors)
        state |= storage.with_prefix("forest", self.forest_) | storage.with_prefix("knots", self.knots_)
        state |= storage.with_prefix("coder", {k: v.numpy() for k, v in self.coder_.state_dict().items()})
        storage.write_tensors(directory / "model.safetensors", state)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described: dict[str, Any] = storage.read_json(directory / "model.json")
        tensors = storage.read_tensors(directory / "model.safetensors")
        estimator = cls(
            targets=[Target.from_json(item) for item in described["targets"]],
            columns=[Column.from_json(item) for item in described["columns"]],
            config=TrainingConfig.from_json(described["config"]),
        )
        estimator.preprocessor_ = Preprocessor.from_state(
            described["preprocessing"], storage.under_prefix("preprocessing", tensors)
        )
        estimator.forest_ = storage.under_prefix("forest", tensors)
        estimator.knots_ = storage.under_prefix("knots", tensors)
        weights = storage.under_prefix("coder", tensors)
        estimator.coder_ = _network(weights["0.weight"].shape[1])
        estimator.coder_.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return estimator

    def _both(self, x: np.ndarray) -> np.ndarray:
        """Mean of the two percentiles; how unusual that is, is a percentile of its own."""
        return np.mean([_percentile(s, self.knots_[name]) for name, s in self.parts(x).items()], axis=0)

    def _error(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            given = torch.from_numpy(x.astype(np.float32))
            return ((self.coder_(given) - given) ** 2).mean(dim=1).numpy().astype(np.float64)

    def _forest_score(self, x: np.ndarray) -> np.ndarray:
        """2^(-mean path / usual path), higher is easier to set apart."""
        starts = self.forest_["starts"]
        paths = np.mean([self._path(x, int(start)) for start in starts], axis=0)
        return 2.0 ** (-paths / _usual_path(float(self.forest_["rows"][0])))

    def _path(self, x: np.ndarray, start: int) -> np.ndarray:
        """(n,) steps from the root to each row's leaf, and what the leaf's rows would still need."""
        feature, left, right = (self.forest_[name] for name in ("feature", "left", "right"))
        threshold, extra = self.forest_["threshold"], self.forest_["extra"]
        node, depth, rows = np.full(len(x), start), np.zeros(len(x)), np.arange(len(x))
        while len(inner := rows[feature[node[rows]] >= 0]):
            at = node[inner]
            goes_left = x[inner, feature[at]] <= threshold[at]
            node[inner] = start + np.where(goes_left, left[at], right[at])
            depth[inner] += 1
            rows = inner
        return depth + extra[node]


def _forest(x: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Every tree's nodes one after the other; children count from their tree's start. Leaves have feature -1."""
    from sklearn.ensemble import IsolationForest

    rows = min(TREE_ROWS, len(x))
    model = IsolationForest(n_estimators=TREES, max_samples=rows, random_state=seed).fit(x.astype(np.float32))
    trees = [one.tree_ for one in model.estimators_]
    extra = [np.array([_usual_path(float(n)) for n in tree.n_node_samples]) for tree in trees]
    return {
        "starts": np.cumsum([0, *(tree.node_count for tree in trees)])[:-1],
        "feature": np.concatenate([np.maximum(tree.feature, -1) for tree in trees]).astype(np.int64),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "left": np.concatenate([tree.children_left for tree in trees]).astype(np.int64),
        "right": np.concatenate([tree.children_right for tree in trees]).astype(np.int64),
        "extra": np.concatenate(extra),
        "rows": np.array([float(rows)]),
    }


def _usual_path(rows: float) -> float:
    """Mean path of an unsuccessful search in a binary tree of so many rows."""
    if rows <= 1:
        return 0.0
    if rows <= 2:
        return 1.0
    return 2.0 * (np.log(rows - 1.0) + EULER) - 2.0 * (rows - 1.0) / rows


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, WIDE), nn.ReLU(), nn.Linear(WIDE, NARROW), nn.Linear(NARROW, WIDE), nn.ReLU(),
        nn.Linear(WIDE, width),
    )  # fmt: skip


def _coder(x: np.ndarray, seed: int, on_epoch_end: OnEpochEnd | None) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        coder = _network(x.shape[1])
        optimiser = torch.optim.AdamW(coder.parameters(), lr=RATE)
        rows = torch.from_numpy(x.astype(np.float32))
        for epoch in range(1, EPOCHS + 1):
            order = torch.randperm(len(rows), generator=generator)
            total = 0.0
            for batch in order.split(BATCH):
                optimiser.zero_grad()
                loss = ((coder(rows[batch]) - rows[batch]) ** 2).mean()
                loss.backward()
                optimiser.step()
                total += float(loss.detach()) * len(batch)
            if on_epoch_end is not None:
                on_epoch_end(EpochReport("anomaly", epoch, EPOCHS, train_loss=total / len(rows)))
    return coder.eval()


def _knots(scores: np.ndarray) -> np.ndarray:
    return np.quantile(scores, np.linspace(0, 1, KNOTS))


def _percentile(scores: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """(n,) share of the customers learned from with a lower score."""
    return np.searchsorted(knots, scores, side="left").clip(0, KNOTS - 1) / (KNOTS - 1)
