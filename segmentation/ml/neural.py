"""The network as an estimator: preprocessing, training, prediction, and state without code in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from scipy.special import expit, softmax

from segmentation.ml import storage
from segmentation.ml.batching import in_fixed_batches
from segmentation.ml.config import TrainingConfig
from segmentation.ml.datasets import TensorRows, tensor_rows
from segmentation.ml.losses import ziln_parameters
from segmentation.ml.networks.blocks import HeadLayout, piecewise_bins
from segmentation.ml.networks.build import build, describe
from segmentation.ml.preprocessing import Encoded, Preprocessor
from segmentation.ml.schema import (
    Column,
    Frame,
    LearningError,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
)
from segmentation.ml.threads import one_thread
from segmentation.ml.trainer import EpochLoss, Trainer, repeatable
from segmentation.ml.ziln import merge_members
from segmentation.stages import stage


class NeuralEstimator:
    """One network with a head per target. Learned names end in `_`."""

    name: ClassVar[str] = "mlp"

    def __init__(
        self, *, targets: Sequence[Target], columns: Sequence[Column], config: TrainingConfig | None = None
    ) -> None:
        self.targets = tuple(targets)
        self.columns = tuple(columns)
        self.config = config or TrainingConfig()
        self.layout = HeadLayout(self.targets)
        self.history_: list[EpochLoss] = []

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        """Learns from `train`; `valid` only says when to stop."""
        self.preprocessor_ = Preprocessor.fit(train.x, self.columns)
        self.value_scales_ = {t.name: ValueScale.fit(train.labels[t.name]) for t in self._values}
        encoded = self.preprocessor_.transform(train.x)
        self.described_ = describe(
            self.config,
            bins=piecewise_bins(encoded.numeric, self.config.embedding_bins),
            category_sizes=self.preprocessor_.category_sizes,
            outputs=self.layout.width,
        )
        with repeatable(self.config.seed) as generator:
            network = build(self.described_).to(self.config.device)
            trainer = Trainer(
                network,
                self.layout,
                self.config,
                generator=generator,
                on_epoch_end=on_epoch_end,
                name=self.name,
            )
            held_out = self.preprocessor_.transform(valid.x)
            trainer.fit(self._rows(encoded, train), self._rows(held_out, valid))
        self.network_ = network.to("cpu")
        self.history_ = trainer.history_
        return self

    @stage("network")
    def predict(self, frame: Frame) -> Prediction:
        encoded = self.preprocessor_.transform(frame.x)
        with one_thread(), torch.inference_mode():
            outputs = in_fixed_batches(self._forward, encoded.numeric, encoded.categorical)
        parts = self.layout.split(torch.from_numpy(outputs))
        return {target.name: self._answer(target, parts[target.name]) for target in self.targets}

    def save(self, directory: Path) -> None:
        described, tensors = self.preprocessor_.state()
        storage.write_json(
            directory / "model.json",
            {
                "targets": [target.to_json() for target in self.targets],
                "config": self.config.to_json(),
                "network": self.described_,
                "preprocessing": described,
                "value_scales": {name: scale.to_json() for name, scale in self.value_scales_.items()},
                "history": [[loss.train, loss.valid] for loss in self.history_],
            },
        )
        weights = {name: tensor.numpy() for name, tensor in self.network_.state_dict().items()}
        state = storage.with_prefix("network", weights) | storage.with_prefix("preprocessing", tensors)
        storage.write_tensors(directory / "model.safetensors", state)

    @classmethod
    def load(cls, directory: Path) -> Self:
        described = storage.read_json(directory / "model.json")
        tensors = storage.read_tensors(directory / "model.safetensors")
        preprocessor = Preprocessor.from_state(
            described["preprocessing"], storage.under_prefix("preprocessing", tensors)
        )
        estimator = cls(
            targets=[Target.from_json(item) for item in described["targets"]],
            columns=preprocessor.columns,
            config=TrainingConfig.from_json(described["config"]),
        )
        estimator.preprocessor_ = preprocessor
        estimator.described_ = described["network"]
        scales = described["value_scales"]
        estimator.value_scales_ = {name: ValueScale(**scale) for name, scale in scales.items()}
        estimator.history_ = [EpochLoss(train=pair[0], valid=pair[1]) for pair in described["history"]]
        weights = storage.under_prefix("network", tensors)
        estimator.network_ = build(estimator.described_).eval()
        estimator.network_.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        return estimator

    @property
    def _values(self) -> tuple[Target, ...]:
        return tuple(target for target in self.targets if target.kind == "value")

    def _rows(self, encoded: Encoded, frame: Frame) -> TensorRows:
        scaled = {name: scale.apply(frame.labels[name]) for name, scale in self.value_scales_.items()}
        labelled = Frame(frame.ids, frame.cutoffs, frame.x, labels={**frame.labels, **scaled})
        return tensor_rows(encoded, labelled, self.targets, device=self.config.device)

    def _forward(self, numeric: np.ndarray, categorical: np.ndarray) -> np.ndarray:
        """One fixed batch through the network: (b, p), (b, c) -> (b, k, outputs)."""
        return self.network_(torch.from_numpy(numeric), torch.from_numpy(categorical)).numpy()

    def _answer(self, target: Target, outputs: torch.Tensor) -> TargetPrediction:
        """(n, k, head) -> the members' answers as one."""
        if target.kind == "binary":
            positive = expit(outputs[:, :, 0].double().numpy()).mean(axis=1)
            probabilities = np.stack([1 - positive, positive], axis=1)
            return TargetPrediction(probabilities=probabilities, decided=probabilities.argmax(axis=1))
        if target.kind == "multiclass":
            probabilities = softmax(outputs.double().numpy(), axis=2).mean(axis=1)
            return TargetPrediction(probabilities=probabilities, decided=probabilities.argmax(axis=1))
        return self.value_scales_[target.name].answer(outputs.double())


class ValueScale:
    """Money in units of its typical amount, so that the log-normal head starts near the data."""

    def __init__(self, *, unit: float, largest: float) -> None:
        self.unit = unit
        self.largest = largest

    @classmethod
    def fit(cls, labels: np.ndarray) -> Self:
        spends = labels[np.isfinite(labels) & (labels > 0)]
        if not len(spends):
            raise LearningError("No training row has a positive value, so future value cannot be learned.")
        return cls(unit=float(np.exp(np.log(spends).mean())), largest=float(spends.max()))

    def apply(self, labels: np.ndarray) -> np.ndarray:
        return np.asarray(labels, dtype=np.float64) / self.unit

    def answer(self, outputs: torch.Tensor) -> TargetPrediction:
        """(n, k, 3) float64 -> the mean of the members' means; quantiles of their merged distribution."""
        logit, mu, sigma = (part.numpy() for part in ziln_parameters(outputs))
        positive, mu = expit(logit), mu + np.log(self.unit)
        with np.errstate(over="ignore"):
            buyers = np.minimum(np.exp(mu + sigma**2 / 2), self.largest)
        merged = merge_members(positive, mu, sigma)
        return merged.prediction(mean=(positive * buyers).mean(axis=1))

    def to_json(self) -> Mapping[str, float]:
        return {"unit": self.unit, "largest": self.largest}
