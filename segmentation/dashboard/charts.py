"""Charts as data: a Chart.js configuration, a sentence for who cannot see it, and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import words

# Colours by name; static/tierwise/charts.js turns them into the theme's.
SERIES = ("primary", "teal", "amber", "rose", "blue", "slate")


@dataclass(frozen=True)
class Table:
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """`slug` is unique on its page; `config` is JSON for Chart.js with colour names instead of colours."""

    slug: str
    title: str
    summary: str
    config: Mapping[str, Any]
    table: Table | None = None
    height: int = 220

    @property
    def element_id(self) -> str:
        return f"chart-{self.slug}"


@dataclass(frozen=True)
class Line:
    """Points (x, y); `dashed` for a line to compare with."""

    label: str
    points: Sequence[tuple[float, float]]
    color: str = "primary"
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Axes:
    """Titles and limits; `percent` shows 0.2 as 20 %."""

    x: str
    y: str
    percent: bool = False
    x_max: float | None = None
    y_max: float | None = None
    x_min: float | None = 0
    y_min: float | None = 0


def bars(
    slug: str,
    title: str,
    rows: Sequence[tuple[Any, int]],
    *,
    colors: Sequence[str] = (),
    what: str = "",
    horizontal: bool = False,
) -> Chart:
    """One bar a row of (label, count)."""
    labels = [str(label) for label, _count in rows]
    counts = [count for _label, count in rows]
    config = {
        "type": "bar",
        "data": {"labels": labels, "datasets": [{"data": counts, "tone": list(colors) or "primary"}]},
        "options": {"indexAxis": "y" if horizontal else "x", "plugins": {"legend": {"display": False}}},
    }
    summary = "; ".join(f"{label}: {words.number(count)}" for label, count in rows)
    table = Table(
        ("", what or _("customers")), tuple((str(label), words.number(count)) for label, count in rows)
    )
    height = max(120, 34 * len(rows) + 30) if horizontal else 220
    return Chart(slug, title, summary, config, table, height)


def intervals(slug: str, title: str, rows: Sequence[tuple[str, float, float, float]], unit: str) -> Chart:
    """One bar a row of (label, value, low, high) from low to high, with a point at the value."""
    labels = [row[0] for row in rows]
    config = {
        "type": "bar",
        "data": {
            "labels": labels,
            "datasets": [
                {
                    "type": "line",
                    "label": _("measured"),
                    "data": [row[1] for row in rows],
                    "tone": "primary",
                    "showLine": False,
                    "pointRadius": 5,
                    "order": 0,
                },
                {
                    "label": _("95 percent interval"),
                    "data": [[row[2], row[3]] for row in rows],
                    "tone": "teal",
                    "barThickness": 10,
                    "order": 1,
                },
            ],
        },
        "options": {"indexAxis": "y", "scales": {"x": {"title": {"display": True, "text": unit}}}},
    }
    told = [
        (label, *(words.number(round(figure, 2), 2) for figure in (value, low, high)))
        for label, value, low, high in rows
    ]
    summary = "; ".join(f"{label}: {value} ({low} – {high})" for label, value, low, high in told)
    table = Table((unit, _("measured"), _("at least"), _("at most")), tuple(told))
    return Chart(slug, title, summary, config, table, max(150, 40 * len(rows) + 100))


def lines(slug: str, title: str, summary: str, series: Sequence[Line], axes: Axes) -> Chart:
    """Curves over a numeric axis."""
    config = {
        "type": "scatter",
        "data": {"datasets": [_dataset(line) for line in series]},
        "options": {
            "scales": {
                "x": _scale(axes.x, axes.x_min, axes.x_max),
                "y": _scale(axes.y, axes.y_min, axes.y_max),
            }
        },
        "percent": axes.percent,
    }
    return Chart(slug, title, summary, config, height=260)


def scatter(slug: str, title: str, summary: str, series: Sequence[Line], x: str = "", y: str = "") -> Chart:
    """Clouds of points; the axes have titles and no numbers worth reading."""
    sets = [_dataset(line) | {"showLine": False, "pointRadius": 2} for line in series]
    config = {
        "type": "scatter",
        "data": {"datasets": sets},
        "options": {"scales": {"x": _scale(x, None, None), "y": _scale(y, None, None)}},
    }
    return Chart(slug, title, summary, config, height=480)


def _dataset(line: Line) -> dict[str, Any]:
    return {
        "label": line.label,
        "data": [{"x": x, "y": y} for x, y in line.points],
        "tone": line.color,
        "showLine": True,
        "borderDash": [4, 4] if line.dashed else [],
        "pointRadius": 3 if line.dots else 0,
    }


def _scale(title: str, low: float | None, high: float | None) -> dict[str, Any]:
    scale: dict[str, Any] = {"type": "linear", "title": {"display": True, "text": title}}
    return scale | {name: value for name, value in (("min", low), ("max", high)) if value is not None}


@dataclass(frozen=True)
class HeatTable:
    """Rows true class, columns decided class; cells hold (count in words, share of the row)."""

    title: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = field(default=())


def heat(title: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> HeatTable:
    rows = []
    for name, row in zip(classes, counts, strict=True):
        total = sum(row) or 1
        rows.append((str(name), tuple((words.number(count), count / total) for count in row)))
    return HeatTable(title, tuple(str(name) for name in classes), tuple(rows))
