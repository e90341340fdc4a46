"""What a version leans on: the loss that shuffling a feature, or the events it reads, costs (ml/importance.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from segmentation.dashboard import charts
from segmentation.features.catalogue import BY_NAME
from segmentation.ml.importance import EVENTS

IMPORTANT_SHOWN = 12


def _feature_words(members: list[str]) -> str:
    """What a group of windows is called: by the one that looks back furthest."""
    name = members[-1]
    if name == EVENTS:
        return _("the events themselves")
    if name not in BY_NAME:
        return name.removeprefix("attribute.")
    label = str(BY_NAME[name].label)
    return label if len(members) == 1 else _("%(feature)s, and other windows") % {"feature": label}


def table(evaluation: Mapping[str, Any]) -> charts.Table | None:
    """What the version leans on: the loss that shuffling a feature costs, beside its interval."""
    found = evaluation.get("importance") or []
    if not found:
        return None
    rows = tuple(
        (
            _feature_words(one["features"]),
            f"{one['value']:+.4f}",
            _("%(low)s to %(high)s") % {"low": f"{one['low']:+.4f}", "high": f"{one['high']:+.4f}"},
        )
        for one in found
    )
    return charts.Table((_("Feature"), _("loss without it"), _("from, to")), rows)


def chart(slug: str, evaluation: Mapping[str, Any]) -> charts.Chart | None:
    found = [one for one in evaluation.get("importance") or [] if one["low"] > 0][:IMPORTANT_SHOWN]
    if not found:
        return None
    # A bar chart of whole numbers: ten-thousandths of the loss.
    rows = [(_feature_words(one["features"]), round(10_000 * one["value"])) for one in found]
    title = _("What it leans on")
    return charts.bars(f"{slug}-importance", title, rows, what=_("loss, in ten-thousandths"), horizontal=True)
