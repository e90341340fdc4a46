"""What a feature is: how it is worked out and how staff read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from django.utils.functional import Promise, lazy
from django.utils.translation import gettext_lazy as _

FeatureKind = Literal["numeric", "categorical", "boolean"]
Unit = Literal[
    "", "days", "orders", "money", "share", "ratio", "units", "rating", "score", "times", "sentiment"
]


@dataclass(frozen=True)
class Feature:
    """One column of the features frame: Float64, or String if categorical; null where it is not defined.

    label: a short name. sentence: a plain sentence with `%(value)s` to fill. window_days: how far it looks back.
    revision: raise it when the expression changes meaning under the same name, so that stored vectors and
    models of the old meaning are told apart.
    """

    name: str
    unit: Unit
    label: str | Promise
    sentence: str | Promise
    expression: pl.Expr
    kind: FeatureKind = "numeric"
    window_days: int | None = None
    revision: int = 1

    @property
    def definition(self) -> str:
        """What the catalogue version is made of."""
        return f"{self.name}|{self.kind}|{self.window_days}|{self.unit}|{self.revision}"

    def say(self, value: object) -> str:
        """The sentence with a value that is already formatted for the reader."""
        return str(self.sentence) % {"value": _("unknown") if value is None else value}


def _fill(template: str | Promise, values: Mapping[str, Any]) -> str:
    return str(template) % {"value": "%(value)s", **values}


_fill_lazily = lazy(_fill, str)


def worded(template: str | Promise, **values: object) -> str:
    """A translated template with its other placeholders filled, `%(value)s` kept; translated when read."""
    return _fill_lazily(template, values)


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """part / whole, null where the whole is zero."""
    return pl.when(whole != 0).then(part / whole)


def when(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    """value where the condition holds, else null."""
    return pl.when(condition).then(value)
