"""Settings of a training run, with a JSON round trip and named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from segmentation.ml.schema import LearningError


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a fit depends on besides its data; stored with the version it produced."""

    preset: str = "default"
    seed: int = 1
    device: str = "cpu"
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
}
PLANNED_PRESETS = ("sequence", "gpu")


def preset(name: str, **overrides: Any) -> TrainingConfig:
    """The preset of that name, with single settings replaced."""
    if name in PRESETS:
        return replace(PRESETS[name], **overrides)
    available = ", ".join(sorted(PRESETS))
    if name in PLANNED_PRESETS:
        raise LearningError(f"The preset {name} is not part of this version. Choose one of: {available}.")
    raise LearningError(f"There is no preset called {name}. Choose one of: {available}.")
