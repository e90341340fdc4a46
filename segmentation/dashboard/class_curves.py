"""Curves of each class against the others, where a target has more than two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import charts, words

# More lines than colours cannot be told apart; the rest is in the comparison's figures.
MOST_LINES = len(charts.SERIES)


def charts_of(slug: str, curves: Mapping[str, Any]) -> list[charts.Chart]:
    """ROC, and precision and recall, with a line a class; the commonest classes where there are many."""
    found = list((curves.get("by_class") or {}).items())[:MOST_LINES]
    if not found:
        return []

    def drawn(kind: str, x: str, y: str) -> list[charts.Line]:
        return [
            charts.Line(
                str(words.tier(name)),
                list(zip(parts[kind][x], parts[kind][y], strict=True)),
                color=charts.SERIES[place],
            )
            for place, (name, parts) in enumerate(found)
        ]

    return [
        charts.lines(
            f"{slug}-class-roc",
            _("ROC curve of each class"),
            _(
                "Each class against all others: how many of it are found for how many of the others taken for it."
            ),
            [
                *drawn("roc", "false_positive_rate", "true_positive_rate"),
                charts.Line(_("chance"), [(0, 0), (1, 1)], color="slate", dashed=True),
            ],
            charts.Axes(_("others taken for it"), _("found of the class"), percent=True, x_max=1, y_max=1),
        ),
        charts.lines(
            f"{slug}-class-pr",
            _("Precision and recall of each class"),
            _(
                "Each class against all others: how many of those named are of it, for how many of it are found."
            ),
            drawn("precision_recall", "recall", "precision"),
            charts.Axes(
                _("found of the class"), _("correct among the named"), percent=True, x_max=1, y_max=1
            ),
        ),
    ]
