"""Settings of a training run, with a JSON round trip and named presets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from segmentation.ml.schema import LearningError

# What each setting of words may be; the first is what happens when nothing is said.
CHOICES: dict[str, tuple[str, ...]] = {
    "optimiser": ("adamw", "sgd", "rmsprop"),
    "loss": ("cross_entropy", "focal", "hinge"),
    "precision": ("float32", "bf16"),
    "inference": ("float32", "bf16", "int8"),
    "encoder": ("gru", "lstm", "conv", "transformer"),
    "pretraining": ("none", "contrastive", "next_event", "both"),
    "imbalance": ("none", "class_weights", "over", "under", "smote", "noise", "gan"),
    "combine": ("mean", "voting", "stacking"),
    "imputation": ("median", "constant", "regression", "multiple"),
    "outliers": ("none", "iqr", "quantile", "isolation_forest"),
    "scaling": ("quantile_normal", "standard", "min_max"),
    "categories": ("embedding", "one_hot"),
    "selection": ("none", "variance", "correlation", "permutation", "rfe"),
}
# Resampling and weights move every chance away from its true frequency.
UNCALIBRATED = {"imbalance": "none", "loss": "cross_entropy"}


@dataclass(frozen=True)
class Preprocessing:
    """How columns become inputs; all of it is fitted on training rows and stored with the model.

    imputation: what stands for an unknown number: the median, nothing at all, a regression on the other columns, or
    the mean of several such regressions, each on a draw of the rows. outliers: numbers are cut at the quartiles less
    and plus 1.5 times their distance, or at the hundredths; isolation_forest leaves odd rows out of training
    instead. pca: number of components the numbers are put into; 0 leaves them.
    """

    imputation: str = "median"
    outliers: str = "none"
    scaling: str = "quantile_normal"
    categories: str = "embedding"
    pca: int = 0


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a fit depends on besides its data; stored with the version it produced."""

    preset: str = "default"
    seed: int = 1
    device: str = "cpu"
    # Processes that a network is trained by, each on a graphics card of its own; 0: as many as there are cards.
    ranks: int = 0
    # The network
    network: str = "tabm"
    hidden: tuple[int, ...] = (128, 128)
    ensemble: int = 8
    dropout: float = 0.1
    embedding_bins: int = 8
    embedding_width: int = 4
    # Its optimiser
    epochs: int = 10
    patience: int = 4
    batch_size: int = 512
    learning_rate: float = 5e-3
    weight_decay: float = 3e-3
    value_weight: float = 0.3
    # Splits and the decision on classes
    early_stop_share: float = 0.15
    decision_power: float = 0.7
    # Gradient boosting
    boosting_rounds: int = 400
    boosting_patience: int = 30
    # Half of this rate grows twice the trees, which predict at half the speed, and the blend is no better.
    boosting_rate: float = 0.08
    boosting_leaves: int = 15
    boosting_leaf_rows: int = 40
    # Forests and kernels
    forest_trees: int = 150
    forest_leaf: int = 20
    kernel_rows: int = 10_000
    # How the network learns and answers
    optimiser: str = "adamw"
    loss: str = "cross_entropy"
    precision: str = "float32"
    inference: str = "float32"
    # Work states of events out again on the way back instead of keeping them: less memory, more time.
    recompute: bool = False
    # Networks over events
    encoder: str = "gru"
    encoder_width: int = 64
    sequence_events: int = 24
    pretraining: str = "none"
    pretraining_epochs: int = 3
    # Rows and columns
    imbalance: str = "none"
    imputation: str = "median"
    outliers: str = "none"
    scaling: str = "quantile_normal"
    categories: str = "embedding"
    selection: str = "none"
    keep_share: float = 0.6
    pca: int = 0
    # Differential privacy of a customer in a network's weights; 0: none (ml/private_training.py)
    privacy_epsilon: float = 0.0
    privacy_clip: float = 1.0
    # How several learners are put together
    combine: str = "mean"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise LearningError(
                    f"{name} can be {', '.join(allowed)}; it is “{getattr(self, name)}”. Choose one of these."
                )
        if not 1 <= self.sequence_events <= 256:
            raise LearningError("sequence_events can be 1 to 256.")
        if not 0 <= self.privacy_epsilon <= 100:
            raise LearningError("privacy_epsilon is 0 for none, or above 0 up to 100; 1 to 8 is usual.")
        if self.privacy_clip <= 0:
            raise LearningError("privacy_clip is a length above 0; 1 is usual.")

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(self.imputation, self.outliers, self.scaling, self.categories, self.pca)

    @property
    def spoils_calibration(self) -> bool:
        """Whether something is set after which a chance of 30 % is no longer three in ten."""
        return any(getattr(self, name) != usual for name, usual in UNCALIBRATED.items())

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingConfig:
        unknown = sorted(set(data) - {item.name for item in fields(cls)})
        if unknown:
            raise LearningError(f"Unknown training settings: {', '.join(unknown)}. Remove them.")
        values = dict(data)
        if "hidden" in values:
            values["hidden"] = tuple(values["hidden"])
        return cls(**values)


PRESETS: dict[str, TrainingConfig] = {
    "fast": TrainingConfig(
        preset="fast", network="mlp", hidden=(256, 128), ensemble=1, epochs=12, learning_rate=3e-3
    ),
    "default": TrainingConfig(preset="default"),
    "sequence": TrainingConfig(preset="sequence", network="customer_net", learning_rate=3e-3),
    "gpu": TrainingConfig(
        preset="gpu",
        network="customer_net",
        hidden=(384, 384, 384),
        ensemble=24,
        batch_size=4096,
        encoder_width=128,
        precision="bf16",
        learning_rate=2e-3,
        epochs=20,
    ),
}


# What labelled customers are learned with: their tables are small and their columns plain, so that many small steps and
# small slow trees pay, which on years of orders would cost time and gain nothing (docs/learning.md, “Labelled tables”).
LABELLED: dict[str, Any] = {
    "epochs": 40,
    "patience": 8,
    "learning_rate": 2e-3,
    "batch_size": 256,
    "boosting_rate": 0.03,
    "boosting_rounds": 2000,
    "boosting_patience": 60,
    "boosting_leaves": 8,
}


def for_labels(config: TrainingConfig) -> TrainingConfig:
    """The default preset as it learns from labels of staff; whatever was set otherwise stays as it was set."""
    usual = PRESETS["default"]
    if config.preset != usual.preset:
        return config
    own = {name: value for name, value in LABELLED.items() if getattr(config, name) == getattr(usual, name)}
    return replace(config, **own)


def preset(name: str, **overrides: Any) -> TrainingConfig:
    """The preset of that name, with single settings replaced."""
    if name in PRESETS:
        return replace(PRESETS[name], **overrides)
    available = ", ".join(sorted(PRESETS))
    raise LearningError(f"There is no preset called {name}. Choose one of: {available}.")


def settings_from_text(pairs: Iterable[str]) -> dict[str, Any]:
    """Settings written as name=value, each of the type it has. Raises LearningError naming what cannot be read."""
    kinds = {item.name: getattr(TrainingConfig(), item.name) for item in fields(TrainingConfig)}
    found: dict[str, Any] = {}
    for pair in pairs:
        name, _sign, text = (part.strip() for part in pair.partition("="))
        if name not in kinds:
            raise LearningError(f"There is no setting called {name}. Known: {', '.join(sorted(kinds))}.")
        usual = kinds[name]
        try:
            if isinstance(usual, bool):
                found[name] = {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
            elif isinstance(usual, tuple):
                found[name] = [int(part) for part in text.replace("x", ",").split(",")]
            else:
                found[name] = type(usual)(text)
        except (ValueError, KeyError) as error:
            raise LearningError(f"{name} is written like {usual}; “{text}” cannot be read.") from error
    return found
