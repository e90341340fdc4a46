"""What every learner agrees on: columns and targets in, predictions out. Knows no Django and no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl

from segmentation.ml.sequences import Sequences

ColumnKind = Literal["numeric", "categorical"]
TargetKind = Literal["binary", "multiclass", "value", "effect"]


class LearningError(Exception):
    """Something staff can act on: the message says what is wrong and what to do."""


class NotEnoughData(LearningError):
    """Too little to learn from. `missing` maps what is short to (found, needed)."""

    def __init__(self, missing: Mapping[str, tuple[int, int]]) -> None:
        self.missing = dict(missing)
        parts = [f"{name}: {found} found, {needed} needed" for name, (found, needed) in self.missing.items()]
        super().__init__("Not enough data to train. " + "; ".join(parts))


@dataclass(frozen=True)
class Column:
    """One input. Booleans are numeric 0/1; missing is null (or NaN in a numeric column)."""

    name: str
    kind: ColumnKind

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "kind": self.kind}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Column:
        return cls(name=data["name"], kind=data["kind"])


@dataclass(frozen=True)
class Target:
    """What is predicted. Labels: binary 0/1, multiclass the index in `classes`, value a float in major units,
    effect a float of any sign (of a whole uplift target: see effects/rows.py).

    A missing label is NaN (binary, value) or a negative index (multiclass) and is never learned from.
    `ordered` classes run from low to high. `positive` says in words what label 1 means.
    """

    name: str
    kind: TargetKind
    classes: tuple[str, ...] = ()
    ordered: bool = False
    horizon_days: int | None = None
    positive: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "multiclass" and len(self.classes) < 2:
            raise LearningError(f"Target {self.name} needs at least two classes, it has {len(self.classes)}.")

    @property
    def class_count(self) -> int:
        """Columns of the probabilities: 2 for binary, 0 for a value or an effect."""
        return {"binary": 2, "multiclass": len(self.classes), "value": 0, "effect": 0}[self.kind]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "ordered": self.ordered,
            "horizon_days": self.horizon_days,
            "positive": self.positive,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Target:
        return cls(**{**data, "classes": tuple(data["classes"])})


CHURN = Target(name="churn", kind="binary", horizon_days=90, positive="no order in the horizon")
VALUE_TIER = Target(
    name="value_tier",
    kind="multiclass",
    classes=("none", "low", "middle", "high"),
    ordered=True,
    horizon_days=90,
)
FUTURE_VALUE = Target(name="future_value", kind="value", horizon_days=90)
STANDARD_TARGETS: tuple[Target, ...] = (CHURN, VALUE_TIER, FUTURE_VALUE)


@dataclass(frozen=True)
class Frame:
    """Rows to learn from or to score: one row per (customer, cutoff).

    ids: (n,) int64 customers. cutoffs: (n,) datetime64[D]. x: n rows, feature columns only.
    labels: target name -> (n,). groups: subgroup name -> (n,) values, only for reports by subgroup.
    events: the newest events of each row before its cutoff, where a learner reads them.
    """

    ids: np.ndarray
    cutoffs: np.ndarray
    x: pl.DataFrame
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    events: Sequences | None = None

    def __post_init__(self) -> None:
        rows = len(self.ids)
        sizes = {"cutoffs": len(self.cutoffs), "x": self.x.height}
        sizes |= {f"labels of {name}": len(values) for name, values in self.labels.items()}
        sizes |= {f"group {name}": len(values) for name, values in self.groups.items()}
        sizes |= {} if self.events is None else {"events": len(self.events)}
        wrong = {name: size for name, size in sizes.items() if size != rows}
        if wrong:
            raise LearningError(f"A frame of {rows} customers has parts of another length: {wrong}.")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray) -> Frame:
        """The rows of a boolean mask or of integer positions, in that order."""
        positions = np.flatnonzero(index) if np.asarray(index).dtype == bool else np.asarray(index)
        return Frame(
            ids=self.ids[positions],
            cutoffs=self.cutoffs[positions],
            x=self.x[positions],
            labels={name: values[positions] for name, values in self.labels.items()},
            groups={name: values[positions] for name, values in self.groups.items()},
            events=None if self.events is None else self.events.take(positions),
        )

    @staticmethod
    def concat(frames: Sequence[Frame]) -> Frame:
        """Rows of several frames, which must share columns, labels and groups."""
        first = frames[0]
        return Frame(
            ids=np.concatenate([frame.ids for frame in frames]),
            cutoffs=np.concatenate([frame.cutoffs for frame in frames]),
            x=pl.concat([frame.x for frame in frames], how="vertical"),
            labels={name: np.concatenate([f.labels[name] for f in frames]) for name in first.labels},
            groups={name: np.concatenate([f.groups[name] for f in frames]) for name in first.groups},
            events=Sequences.concat([f.events for f in frames if f.events is not None]),
        )


def columns_of(x: pl.DataFrame) -> tuple[Column, ...]:
    """Columns of a feature frame: text is categorical, everything else numeric."""
    text = (pl.String, pl.Categorical, pl.Enum)
    return tuple(
        Column(name=name, kind="categorical" if isinstance(dtype, text) else "numeric")
        for name, dtype in x.schema.items()
    )


@dataclass(frozen=True)
class TargetPrediction:
    """Answers for one target, (n,) or (n, k) float64; what does not apply is None.

    probabilities: (n, k), rows sum to 1; binary has k = 2 and column 1 is "label 1".
    decided: (n,) class index by the model's fixed decision rule (argmax where it has none).
    mean judges totals and ranking, median the typical customer; [lower, upper] is an 80 % interval.
    """

    probabilities: np.ndarray | None = None
    decided: np.ndarray | None = None
    mean: np.ndarray | None = None
    median: np.ndarray | None = None
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> TargetPrediction:
        """The same prediction with `function` applied to every array it holds."""
        names = ("probabilities", "decided", "mean", "median", "lower", "upper")
        values = {name: getattr(self, name) for name in names}
        return TargetPrediction(**{n: None if v is None else function(v) for n, v in values.items()})

    @property
    def positive(self) -> np.ndarray:
        """(n,) probability of label 1 of a binary target."""
        if self.probabilities is None or self.probabilities.shape[1] != 2:
            raise LearningError("This prediction is not of a binary target.")
        return self.probabilities[:, 1]


Prediction = Mapping[str, TargetPrediction]


@dataclass(frozen=True)
class EpochReport:
    """Progress of a fit: step `epoch` of at most `epochs`; losses are NaN where the learner has none."""

    estimator: str
    epoch: int
    epochs: int
    train_loss: float = float("nan")
    valid_loss: float = float("nan")
    best: bool = False


OnEpochEnd = Callable[[EpochReport], None]


@runtime_checkable
class Estimator(Protocol):
    """One learner of one or more targets; classical and torch alike.

    Built as `cls(targets=, columns=, config=)`; see `artifacts.create` for building one by name.
    `fit` learns from `train` alone; `valid` serves early stopping and small post-hoc fits only. An
    exception that `on_epoch_end` raises ends the fit and reaches the caller: so a run is cancelled.
    """

    name: ClassVar[str]
    targets: tuple[Target, ...]
    columns: tuple[Column, ...]

    def fit(self, train: Frame, valid: Frame, *, on_epoch_end: OnEpochEnd | None = None) -> Self: ...

    def predict(self, frame: Frame) -> Prediction: ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path) -> Self: ...


def label_mask(target: Target, labels: np.ndarray) -> np.ndarray:
    """(n,) True where the label is known."""
    if target.kind == "multiclass":
        return np.asarray(labels) >= 0
    return np.isfinite(np.asarray(labels, dtype=np.float64))


def target_named(targets: Iterable[Target], name: str) -> Target:
    for target in targets:
        if target.name == name:
            return target
    raise LearningError(f"No target is called {name}.")
