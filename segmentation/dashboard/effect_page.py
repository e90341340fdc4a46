"""Figures of an uplift model as charts: whom the offer moves first, and whether the bands keep their word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import charts


def curves(
    slug: str, qini: Sequence[Sequence[float]], bands: Sequence[Mapping[str, Any]]
) -> list[charts.Chart]:
    return [_qini(slug, qini), *([_bands(slug, bands)] if bands else [])]


def _qini(slug: str, points: Sequence[Sequence[float]]) -> charts.Chart:
    own = [(x, 100 * y) for x, y in points]
    end = own[-1][1]
    return charts.lines(
        f"{slug}-qini",
        _("Whom the offer moves (Qini curve)"),
        _(
            "Orders gained for each 100 customers when the offer goes to the most moved first. A random order follows the "
            "straight line; the further above it, the better the order."
        ),
        [
            charts.Line(_("this version"), own),
            charts.Line(_("random order"), [(0.0, 0.0), (1.0, end)], color="slate", dashed=True),
        ],
        charts.Axes(
            _("share of the customers who get the offer"),
            _("orders gained for each 100 customers"),
            y_min=None,
            x_max=1,
        ),
    )


def _bands(slug: str, bands: Sequence[Mapping[str, Any]]) -> charts.Chart:
    numbered = list(enumerate(bands, start=1))

    def line(name: str, label: str, **look: Any) -> charts.Line:
        return charts.Line(
            label, [(n, 100 * b[name]) for n, b in numbered if b.get(name) is not None], **look
        )

    return charts.lines(
        f"{slug}-bands",
        _("Said and come about, by fifth of the customers"),
        _(
            "The uplift that was said of each fifth, the most moved first, beside the one measured, with its 95 percent "
            "interval."
        ),
        [
            line("said", _("said"), color="primary", dots=True),
            line("seen", _("measured"), color="amber", dots=True),
            line("low", _("measured, at least"), color="slate", dashed=True),
            line("high", _("measured, at most"), color="slate", dashed=True),
        ],
        charts.Axes(
            _("fifth of the customers"), _("percentage points"), x_min=1, x_max=len(bands), y_min=None
        ),
    )
