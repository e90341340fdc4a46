"""Every algorithm that a training may be asked for, by name: which estimator it is and what is set for it.

The table is read by forms, commands and web processes, so nothing here imports torch or scikit-learn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from segmentation.ml.config import TrainingConfig
from segmentation.ml.schema import LearningError

ALL = "all"


@dataclass(frozen=True)
class Family:
    """estimator: its name in artifacts.ESTIMATORS. network: for neural ones, the network it builds.

    weight: seconds beside the others, for the progress bar. needs_orders: reads what only order history gives.
    needs_events: learns from the events themselves (ml/sequences.py). settings: of TrainingConfig, where the run
    does not set them itself. is_slow: more passes than these settings say would take too long on any table.
    """

    estimator: str
    weight: float
    network: str = ""
    needs_orders: bool = False
    needs_events: bool = False
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    is_slow: bool = False


_SEQUENCE: dict[str, Any] = {
    "learning_rate": 2e-3,
    "epochs": 8,
    "patience": 3,
    "hidden": (64,),
    "ensemble": 1,
}

PASSES = ("epochs", "patience")

# Networks that DP-SGD is written for: a row's own gradient can be taken, and they read nothing but columns.
PRIVATE = ("mlp", "tabm", "ft_transformer")

FAMILIES: dict[str, Family] = {
    "rfm": Family("rfm", 0.01, needs_orders=True),
    "btyd": Family("btyd", 0.02, needs_orders=True),
    "logistic": Family("logistic", 0.05),
    "linear_svm": Family("linear_svm", 0.2),
    "rbf_svm": Family("rbf_svm", 0.6),
    "decision_tree": Family("decision_tree", 0.05),
    "random_forest": Family("random_forest", 0.4),
    "lightgbm": Family("lightgbm", 0.3),
    "mlp": Family(
        "mlp",
        0.2,
        network="mlp",
        settings={"hidden": (256, 128), "ensemble": 1, "epochs": 12, "learning_rate": 3e-3},
    ),
    "tabm": Family("mlp", 0.6, network="tabm"),
    "ft_transformer": Family(
        "mlp",
        1.5,
        network="ft_transformer",
        settings={"hidden": (32, 32), "ensemble": 1, "epochs": 8, "learning_rate": 1e-3},
        is_slow=True,
    ),
    "autoencoder": Family(
        "mlp",
        0.3,
        network="autoencoder",
        settings={"hidden": (128, 32), "ensemble": 1, "epochs": 12, "learning_rate": 2e-3},
    ),
    "conv": Family("mlp", 0.4, network="conv", needs_events=True, settings=_SEQUENCE),
    "lstm": Family("mlp", 0.6, network="lstm", needs_events=True, settings=_SEQUENCE),
    "gru": Family("mlp", 0.6, network="gru", needs_events=True, settings=_SEQUENCE),
    "transformer": Family("mlp", 0.8, network="transformer", needs_events=True, settings=_SEQUENCE),
    "customer_net": Family(
        "mlp",
        1.0,
        network="customer_net",
        needs_events=True,
        settings={"learning_rate": 3e-3, "epochs": 10},
    ),
}

# Learners of the effect of an offer; they read who was treated as well, so they stand apart.
EFFECTS: dict[str, Family] = {
    "t_learner": Family("t_learner", 0.6),
    "x_learner": Family("x_learner", 1.2),
    "class_transformation": Family("class_transformation", 0.3),
    "two_head": Family("two_head", 0.3, network="two_head"),
}


def effects_chosen(names: Iterable[str]) -> tuple[str, ...]:
    """The learners of an effect that were asked for, in the table's order; all of them where none is named."""
    wanted = {name.strip() for name in names if name.strip()} - {ALL}
    if unknown := sorted(wanted - set(EFFECTS)):
        raise LearningError(
            f"{', '.join(unknown)} cannot learn an effect. Choose from: {', '.join(EFFECTS)} or {ALL}."
        )
    return tuple(name for name in EFFECTS if not wanted or name in wanted)


def chosen(names: Iterable[str], *, with_orders: bool = True) -> tuple[str, ...]:
    """The algorithms asked for in the table's order; `all` stands for every one that fits. Raises LearningError.

    with_orders: whether the target has order history; without it those that need it are refused, or left out of all.
    """
    wanted = [name.strip() for name in names if name.strip()]
    unknown = sorted(set(wanted) - {*FAMILIES, ALL})
    if unknown:
        raise LearningError(
            f"There is no algorithm called {', '.join(unknown)}. Choose from: {', '.join(FAMILIES)} or {ALL}."
        )
    fitting = {name for name, family in FAMILIES.items() if with_orders or not family.needs_orders}
    unfit = sorted(set(wanted) - fitting - {ALL})
    if unfit and set(wanted) <= {*unfit}:
        raise LearningError(
            f"{', '.join(unfit)} reads order history, which a labelled category does without. Choose another algorithm."
        )
    return tuple(name for name in FAMILIES if name in fitting and (ALL in wanted or name in wanted))


def config_of(
    name: str, config: TrainingConfig, *, given: Collection[str] = (), labelled: bool = False
) -> TrainingConfig:
    """The settings one algorithm is trained with: its own, unless the run has set them (`given`).

    labelled: a table of labels is small, so a pass is a few steps and there are as many as the run's settings say.
    """
    family = FAMILIES[name]
    kept = {*given, *(PASSES if labelled and not family.is_slow else ())}
    own: dict[str, Any] = {key: value for key, value in family.settings.items() if key not in kept}
    if family.network:
        own["network"] = family.network
    return replace(config, **own)


def require_private(names: Collection[str], config: TrainingConfig, *, searching: bool = False) -> None:
    """Raises LearningError where differential privacy (ml/private_training.py) is asked of what it does not hold for."""
    if not config.privacy_epsilon:
        return
    able = ", ".join(PRIVATE)
    if len(names) != 1 or next(iter(names)) not in PRIVATE:
        asked = ", ".join(names) or "the usual blend"
        raise LearningError(
            f"Differential privacy is there for one network over columns ({able}); {asked} learns in other ways, which "
            "would tell about single customers. Name one of these as the algorithm, or set privacy_epsilon to 0."
        )
    if searching:
        raise LearningError(
            "Each trial of a search looks at the customers once more, which ε would not count. Search without "
            "differential privacy, or train without a search."
        )
    if (
        config.loss != "cross_entropy"
        or config.imbalance != "none"
        or config.selection != "none"
        or config.pca
        or config.outliers == "isolation_forest"
    ):
        raise LearningError(
            "With differential privacy the loss is cross-entropy, and odd rows, rare classes, the choice of columns and "
            "components are left as they are: anything else looks at the customers without being counted."
        )


def needs_events(names: Collection[str], config: TrainingConfig) -> bool:
    """Whether one of these algorithms, or the preset's network, learns from events."""
    every = FAMILIES if ALL in names else [*names, config.network]
    return any(FAMILIES[name].needs_events for name in every if name in FAMILIES)
