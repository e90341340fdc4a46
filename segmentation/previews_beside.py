"""Who the customers of a draft rule are besides: which segments they are in, and how they buy beside everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from django.utils.translation import gettext_lazy as _

from segmentation.rules.operators import Words
from segmentation.segments import Definition

MOST: Final = 8


@dataclass(frozen=True)
class Overlap:
    """of_draft: share of those who fit the draft; of_segment: share of the segment's members."""

    slug: str
    name: str
    of_draft: float
    of_segment: float


@dataclass(frozen=True)
class Bin:
    """Shares of those who fit and of everybody."""

    label: Words
    of_draft: float
    of_all: float


@dataclass(frozen=True)
class Spread:
    label: Words
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Beside:
    overlaps: tuple[Overlap, ...] = ()
    spreads: tuple[Spread, ...] = ()


NOTHING_BESIDE: Final = Beside()


@dataclass(frozen=True)
class _Scale:
    """A feature cut at `edges`: below the first one, from each one on, and last who has no value."""

    column: str
    label: Words
    edges: tuple[float, ...]
    labels: tuple[Words, ...]


SCALES: Final = (
    _Scale(
        "feature.recency_days",
        _("Days since the last order"),
        (31, 91, 181, 366),
        (_("up to 30"), _("31 to 90"), _("91 to 180"), _("181 to 365"), _("more than a year"), _("never")),
    ),
    _Scale(
        "feature.orders_365d",
        _("Orders in a year"),
        (1, 2, 4, 8),
        (_("none"), "1", _("2 or 3"), _("4 to 7"), _("8 or more"), _("unknown")),
    ),
    _Scale(
        "feature.money_score",
        _("Fifth by spend of the year"),
        (2, 3, 4, 5),
        (_("lowest"), _("second"), _("middle"), _("fourth"), _("highest"), _("no order in a year")),
    ),
)


class Gathered:
    """Counts over frames that come one after the other."""

    def __init__(self, definitions: Sequence[Definition]) -> None:
        self._definitions = definitions
        self._both = np.zeros(len(definitions), dtype=np.int64)
        self._members = np.zeros(len(definitions), dtype=np.int64)
        self._fit = self._all = 0
        self._bins = {scale.column: np.zeros((2, len(scale.labels)), dtype=np.int64) for scale in SCALES}

    def add(self, frame: pl.DataFrame, fits: pl.Series) -> None:
        """A frame with its segment columns, and who of it fits."""
        inside = fits.to_numpy()
        self._fit += int(inside.sum())
        self._all += frame.height
        for index, definition in enumerate(self._definitions):
            members = frame[definition.column].to_numpy()
            self._members[index] += members.sum()
            self._both[index] += (members & inside).sum()
        if self._definitions:
            self._count(frame, inside)

    def _count(self, frame: pl.DataFrame, inside: np.ndarray) -> None:
        for scale in SCALES:
            if scale.column not in frame.columns:
                continue
            values = frame[scale.column].cast(pl.Float64).fill_null(np.nan).to_numpy()
            places = np.searchsorted(scale.edges, values, side="right")
            places[np.isnan(values)] = len(scale.labels) - 1
            size = len(scale.labels)
            self._bins[scale.column] += [
                np.bincount(places[inside], minlength=size),
                np.bincount(places, minlength=size),
            ]

    def beside(self) -> Beside:
        return Beside(tuple(self._overlaps()), tuple(self._spreads()))

    def _overlaps(self) -> list[Overlap]:
        order = np.argsort(-self._both, kind="stable")[:MOST]
        return [
            Overlap(
                self._definitions[index].slug,
                self._definitions[index].name,
                self._both[index] / max(self._fit, 1),
                self._both[index] / max(self._members[index], 1),
            )
            for index in order.tolist()
            if self._both[index]
        ]

    def _spreads(self) -> list[Spread]:
        found = []
        for scale in SCALES:
            fit, everybody = self._bins[scale.column]
            bins = zip(scale.labels, fit.tolist(), everybody.tolist(), strict=True)
            rows = [
                Bin(label, some / max(self._fit, 1), many / max(self._all, 1))
                for label, some, many in bins
                if many
            ]
            if rows:
                found.append(Spread(scale.label, tuple(rows)))
        return found
