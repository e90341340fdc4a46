"""The network as an estimator: preprocessing, training, prediction, and state without code in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.special import expit, softmax

from segmentation.ml import devices, imbalance, judging, parallel, quantising, storage
from segmentation.ml.batching import in_fixed_batches
from segmentation.ml.config import Preprocessing, TrainingConfig
from segmentation.ml.datasets import TensorRows, tensor_rows
from segmentation.ml.losses import ziln_parameters
from segmentation.ml.networks.blocks import HeadLayout, piecewise_bins
from segmentation.ml.networks.build import READS_EVENTS, build, describe
from segmentation.ml.networks.tables import for_answering
from segmentation.ml.parallel import RankLost
from segmentation.ml.preprocessing import Encoded, Preprocessor
from segmentation.ml.pretraining import pretrain
from segmentation.ml.private_training import PrivateTrainer
from segmentation.ml.schema import (
    Column,
    Frame,
    LearningError,
    OnEpochEnd,
    Prediction,
    Target,
    TargetPrediction,
)
from segmentation.ml.sequences import Sequences
from segmentation.ml.threads import one_thread
from segmentation.ml.trainer import Checkpoint, EpochLoss, Held, Trainer, repeatable
from segmentation.ml.ziln import merge_members
from segmentation.stages import stage

# What a shorter form of the numbers may cost in log loss (of a value: in mean absolute error beside its mean).
NOTHING_LOST = 5e-4


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
        self.notes_: list[str] = []
        self.pretraining_: list[float] = []
        # In which numbers it answers; another form than float32 only where that lost nothing on held-out rows.
        self.inference_ = "float32"
        # What differential privacy was kept to (ml/private_training.py), ε among it; {} without.
        self.privacy_: dict[str, float] = {}
        self.checkpoint: Checkpoint | None = None

    @property
    def network_(self) -> torch.nn.Module:
        """What learned; `through_network` answers with the same in a quicker form."""
        return self._network

    @network_.setter
    def network_(self, network: torch.nn.Module) -> None:
        self._network = network
        self._answering: torch.nn.Module | None = None

    @property
    def events_read(self) -> int:
        """How many of a customer's newest events it reads."""
        return self.config.sequence_events if self.config.network in READS_EVENTS else 0

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self:
        """Learns from `train`; `valid` only says when to stop.

        Where its device is not there, or falls away, the processor goes on from the last state that was laid down.
        """
        try:
            self._learn(train, valid, self.config, on_epoch_end)
        # Torch without CUDA asserts that it is there.
        except (RuntimeError, AssertionError) as error:
            if not devices.is_lost(error):
                raise
            self._learn(train, valid, replace(self.config, device="cpu"), on_epoch_end)
            reason = str(error).splitlines()[0][:200]
            self.notes_.append(f"{self.config.device} could not be used, so the processor learned: {reason}")
        self._choose_inference(valid)
        return self

    def _learn(
        self, train: Frame, valid: Frame, config: TrainingConfig, on_epoch_end: OnEpochEnd | None
    ) -> None:
        """config: the estimator's own, but for the device."""
        self.preprocessor_ = Preprocessor.fit(train.x, self.columns, self._preprocessing)
        self.value_scales_ = {t.name: ValueScale.fit(train.labels[t.name]) for t in self._values}
        encoded = self.preprocessor_.transform(train.x)
        self.described_ = describe(
            config,
            bins=piecewise_bins(encoded.numeric, config.embedding_bins),
            category_sizes=self.preprocessor_.category_sizes,
            outputs=self.layout.width,
            events=self.events_of(train),
        )
        with repeatable(config.seed) as generator:
            network = build(self.described_).to(config.device)
            if self.events_read:
                network.encoder.recompute = config.recompute  # type: ignore[union-attr]
            rows = self._rows(encoded, train, config.device)
            if config.pretraining != "none" and self.events_read and not self._is_begun():
                self.pretraining_ = pretrain(network.encoder, rows, config, generator=generator)  # type: ignore[arg-type]
            held_out = self._rows(self.preprocessor_.transform(valid.x), valid, config.device)
            asked: dict[str, Any] = {
                "generator": generator,
                "on_epoch_end": on_epoch_end,
                "name": self.name,
                "checkpoint": self.checkpoint,
            }
            if config.privacy_epsilon:
                made: Trainer = PrivateTrainer(network, self.layout, config, customers=train.ids, **asked)
                made.fit(rows, held_out)
            else:
                weights = imbalance.class_weights(self.targets, train.labels, config.imbalance)
                trainer = partial(Trainer, network, self.layout, config, class_weights=weights, **asked)
                made = self._trained(trainer, rows, held_out, weights, config)
        self.network_ = network.to("cpu")
        self.history_, self.notes_ = made.history_, made.notes_
        if isinstance(made, PrivateTrainer):
            self.privacy_ = {**made.plan.to_json(), "epsilon": made.epsilon}

    def _trained(
        self,
        trainer: Callable[..., Trainer],
        rows: TensorRows,
        held_out: TensorRows,
        weights: Mapping[str, np.ndarray],
        config: TrainingConfig,
    ) -> Trainer:
        """On every device there is; on one where that does not work out, from the last state that was laid down."""
        count = parallel.wanted(config)
        if count == 1:
            made = trainer()
            made.fit(rows, held_out)
            return made
        start = Held(trainer().state())
        try:
            with parallel.others(
                count,
                described=self.described_,
                targets=self.targets,
                config=config,
                rows=rows,
                class_weights=weights,
            ) as ranks:
                made = trainer(ranks=ranks)
                made.fit(rows, held_out)
            made.notes_.append(
                f"Learned by {count} processes, each with its share of batches of {count * config.batch_size} rows."
            )
        except RankLost as lost:
            made = trainer() if self._is_begun() else trainer(checkpoint=start)
            made.fit(rows, held_out)
            made.notes_.append(f"{lost} It was trained on one device instead.")
        return made

    def _is_begun(self) -> bool:
        return self.checkpoint is not None and self.checkpoint.read() is not None

    @stage("network")
    def predict(self, frame: Frame) -> Prediction:
        encoded = self.preprocessor_.transform(frame.x)
        events = self.events_of(frame)
        given = () if events is None else events.arrays
        shorter = torch.autocast("cpu", torch.bfloat16, enabled=self.inference_ == "bf16")
        with one_thread(), torch.inference_mode(), shorter:
            outputs = in_fixed_batches(self.through_network, encoded.numeric, encoded.categorical, *given)
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
                "pretraining": self.pretraining_,
                "inference": self.inference_,
                "notes": self.notes_,
                "privacy": self.privacy_,
            },
        )
        weights = quantising.stored(self.network_, small=self.inference_ == "int8")
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
        estimator.pretraining_ = described.get("pretraining", [])
        estimator.inference_ = described.get("inference", "float32")
        estimator.notes_ = described.get("notes", [])
        estimator.privacy_ = described.get("privacy", {})
        weights = quantising.read(storage.under_prefix("network", tensors))
        estimator.network_ = build(estimator.described_).eval()
        estimator.network_.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        return estimator

    @property
    def _preprocessing(self) -> Preprocessing:
        """Gradients of single rows cannot be taken through a table of category vectors."""
        how = self.config.preprocessing
        return replace(how, categories="one_hot") if self.config.privacy_epsilon else how

    @property
    def _values(self) -> tuple[Target, ...]:
        return tuple(target for target in self.targets if target.kind == "value")

    def _rows(self, encoded: Encoded, frame: Frame, device: str) -> TensorRows:
        scaled = {name: scale.apply(frame.labels[name]) for name, scale in self.value_scales_.items()}
        labelled = Frame(frame.ids, frame.cutoffs, frame.x, labels={**frame.labels, **scaled})
        return tensor_rows(encoded, labelled, self.targets, device=device, events=self.events_of(frame))

    def events_of(self, frame: Frame) -> Sequences | None:
        if not self.events_read:
            return None
        if frame.events is None:
            raise LearningError(
                f"The network {self.config.network} reads events, and there are none beside these customers."
            )
        return frame.events.newest(self.events_read)

    def _choose_inference(self, valid: Frame) -> None:
        """Answer in fewer bits where that was asked for and loses nothing on the held-out rows."""
        wanted = self.config.inference
        if wanted == "float32":
            return
        before, whole = self.predict(valid), self.network_
        if wanted == "int8":
            self.network_ = quantising.rounded(whole)
        self.inference_ = wanted
        lost = max(
            judging.loss(t, self.predict(valid)[t.name], valid) - judging.loss(t, before[t.name], valid)
            for t in self.targets
        )
        if lost > NOTHING_LOST:
            self.network_, self.inference_ = whole, "float32"
            self.notes_.append(
                f"It answers in 32 bits: {wanted} lost {lost:.4f} on held-out customers, more than {NOTHING_LOST}."
            )

    def through_network(
        self, numeric: np.ndarray, categorical: np.ndarray, *events: np.ndarray
    ) -> np.ndarray:
        """One fixed batch through the network: (b, p), (b, c), events -> (b, k, outputs)."""
        if self._answering is None:
            self._answering = for_answering(self.network_)
        given = [torch.from_numpy(array) for array in (numeric, categorical, *events)]
        return self._answering(*given).float().numpy()

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
