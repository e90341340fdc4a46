"""What the settings of a training are called on its form and its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation.dashboard.model_words import algorithm
from segmentation.dashboard.words import Text

PRESETS: dict[str, Promise] = {
    "fast": gettext_lazy("Fast: a small network; minutes"),
    "default": gettext_lazy("Default: an ensemble of networks; more exact, slower"),
    "sequence": gettext_lazy("Sequence: CustomerNet, which also reads event by event"),
    "gpu": gettext_lazy("GPU: a larger CustomerNet; only with a graphics card"),
}
SETTINGS: dict[str, tuple[Promise, Promise]] = {
    "optimiser": (gettext_lazy("Optimiser"), gettext_lazy("How a network's weights are moved.")),
    "loss": (
        gettext_lazy("Loss"),
        gettext_lazy("What a network's mistakes cost. Only cross-entropy gives honest chances."),
    ),
    "precision": (
        gettext_lazy("Numbers while learning"),
        gettext_lazy("16 bits are quicker where the processor knows them."),
    ),
    "inference": (
        gettext_lazy("Numbers while answering"),
        gettext_lazy("Fewer bits are taken only where held-out customers lose nothing by it."),
    ),
    "encoder": (
        gettext_lazy("Reader of events"),
        gettext_lazy("What CustomerNet reads the events with."),
    ),
    "pretraining": (
        gettext_lazy("Learning before the labels"),
        gettext_lazy(
            "Teaches a reader of events what belongs to one customer, or what comes next. It paid only with tens of "
            "thousands of customers; the evaluation decides."
        ),
    ),
    "imbalance": (
        gettext_lazy("Rare classes"),
        gettext_lazy("Changes training rows alone. It hardly ever ranks better and always spoils chances."),
    ),
    "combine": (
        gettext_lazy("Several algorithms together"),
        gettext_lazy("Votes and weights are fitted on held-out customers of training days."),
    ),
    "imputation": (gettext_lazy("Unknown numbers"), gettext_lazy("What stands for them.")),
    "outliers": (
        gettext_lazy("Numbers far out"),
        gettext_lazy("Cut at a border, or odd rows left out of training."),
    ),
    "scaling": (gettext_lazy("Scale of numbers"), gettext_lazy("LightGBM reads numbers as they are.")),
    "categories": (
        gettext_lazy("Categories in networks"),
        gettext_lazy("A learned vector each, or a column each."),
    ),
    "selection": (
        gettext_lazy("Choice of columns"),
        gettext_lazy("Decided on training rows and kept with the version."),
    ),
}
VALUES: dict[str, Promise] = {
    "adamw": gettext_lazy("AdamW"),
    "sgd": gettext_lazy("gradient steps with momentum (SGD)"),
    "rmsprop": gettext_lazy("RMSprop"),
    "cross_entropy": gettext_lazy("cross-entropy"),
    "focal": gettext_lazy("focal: hard cases count more"),
    "hinge": gettext_lazy("hinge: a margin"),
    "float32": gettext_lazy("32 bits"),
    "bf16": gettext_lazy("16 bits (bf16)"),
    "int8": gettext_lazy("8-bit weights (int8)"),
    "gru": gettext_lazy("GRU"),
    "lstm": gettext_lazy("LSTM"),
    "conv": gettext_lazy("convolutions"),
    "transformer": gettext_lazy("Transformer"),
    "none": gettext_lazy("none"),
    "contrastive": gettext_lazy("whose events are these"),
    "next_event": gettext_lazy("what comes next"),
    "both": gettext_lazy("both"),
    "class_weights": gettext_lazy("weights by class"),
    "over": gettext_lazy("copies of rare rows"),
    "under": gettext_lazy("fewer of the common rows"),
    "smote": gettext_lazy("rows between rare neighbours (SMOTE)"),
    "noise": gettext_lazy("copies with noise"),
    "gan": gettext_lazy("rows made up by a small network (GAN)"),
    "mean": gettext_lazy("plain mean"),
    "voting": gettext_lazy("vote"),
    "stacking": gettext_lazy("weighted mean"),
    "median": gettext_lazy("the median"),
    "constant": gettext_lazy("nought"),
    "regression": gettext_lazy("a regression on the other columns"),
    "multiple": gettext_lazy("the mean of several regressions"),
    "iqr": gettext_lazy("cut 1.5 quartile distances out"),
    "quantile": gettext_lazy("cut at the first and last hundredth"),
    "isolation_forest": gettext_lazy("odd rows left out (isolation forest)"),
    "quantile_normal": gettext_lazy("normal quantiles"),
    "standard": gettext_lazy("mean 0, spread 1"),
    "min_max": gettext_lazy("0 to 1"),
    "embedding": gettext_lazy("a learned vector each"),
    "one_hot": gettext_lazy("a column each"),
    "variance": gettext_lazy("without columns that hardly vary"),
    "correlation": gettext_lazy("without columns that say the same"),
    "permutation": gettext_lazy("those whose shuffling costs most"),
    "rfe": gettext_lazy("the weakest dropped step by step"),
}


def value(name: str) -> Text:
    return VALUES.get(name, name)


def told(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run was asked for besides its preset: (name, value) in words."""
    found = []
    for name, given in config.items():
        if name == "algorithms":
            found.append((_("Algorithms"), ", ".join(str(algorithm(one)) for one in given)))
        elif name in SETTINGS:
            found.append((str(SETTINGS[name][0]), str(value(str(given)))))
        elif name == "search":
            found.append((_("Trials of other settings"), str(given)))
        elif name == "privacy_epsilon":
            found.append((_("Differential privacy: ε at most"), f"{given:g}"))
    return found
