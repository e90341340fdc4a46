"""A demand outlook in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from segmentation.dashboard import words
from segmentation.dashboard.charts import Table
from segmentation.demand import forecast, outlooks
from segmentation.models import DemandOutlook

GROUPS: Final = {
    "weeks_4": gettext_lazy("Ordered within 4 weeks"),
    "weeks_13": gettext_lazy("Ordered 5 to 13 weeks ago"),
    "weeks_26": gettext_lazy("Ordered 14 to 26 weeks ago"),
    "weeks_52": gettext_lazy("Ordered 27 to 52 weeks ago"),
    "lapsed": gettext_lazy("Ordered longer ago"),
}
ADVICE: Final = {
    outlooks.STOCK_UP: gettext_lazy("stock up"),
    outlooks.CLEAR: gettext_lazy("clear"),
    "": words.NOTHING,
}


def context(row: DemandOutlook) -> dict[str, Any]:
    found: Mapping[str, Any] = row.result or {}
    if not found:
        return {}
    if "too_short" in found:
        return {"nothing_told": _too_short(found)}
    if "no_products" in found:
        said = _("The orders of these weeks do not say which products were bought, so nothing can be told.")
        return {"nothing_told": said}
    return {
        "told": found,
        "as_of": date_format(date.fromisoformat(found["as_of"]), "DATE_FORMAT"),
        "groups": _groups(found, row.weeks),
        "parts": [
            _part(_("Categories"), found["categories"], row.weeks),
            _part(_("Products"), found["products"], row.weeks),
        ],
    }


def _too_short(found: Mapping[str, Any]) -> str:
    return ngettext(
        "%(known)s week of orders is known; this outlook needs %(needed)s, to learn from and to be tested on.",
        "%(known)s weeks of orders are known; this outlook needs %(needed)s, to learn from and to be tested on.",
        found["weeks_known"],
    ) % {"known": found["weeks_known"], "needed": found["too_short"]}


def _groups(found: Mapping[str, Any], weeks: int) -> Table:
    headers = (_("Customers who"), _("now"), _weeks_ahead(weeks))
    rows = ((str(GROUPS[name]), words.number(now), words.number(then)) for name, now, then in found["groups"])
    return Table(headers, tuple(rows))


def _weeks_ahead(weeks: int) -> str:
    return ngettext("in %(weeks)s week", "in %(weeks)s weeks", weeks) % {"weeks": weeks}


def _part(title: str, part: Mapping[str, Any], weeks: int) -> dict[str, Any]:
    last = ngettext("Last %(weeks)s week", "Last %(weeks)s weeks", weeks) % {"weeks": weeks}
    headers = (title, last, _("Expected"), _("8 of 10 times"), _("Advice"))
    rows = tuple(
        (
            _named(row),
            words.number(row["last"]),
            words.number(row["expected"]),
            _("%(low)s to %(high)s") % {"low": words.number(row["low"]), "high": words.number(row["high"])},
            str(ADVICE[row["advice"]]),
        )
        for row in part["rows"]
    )
    return {"title": title, "table": Table(headers, rows), "check": _check(part["check"])}


def _named(row: Mapping[str, Any]) -> str:
    if not row["number"]:
        return str(row["name"])
    return _("%(name)s (%(number)s)") % row if row["name"] else str(row["number"])


def _check(check: Mapping[str, Any] | None) -> list[str]:
    """What came of the same forecast on past weeks, and whether to go by it."""
    if check is None:
        return []
    told = {
        "error": words.percent(check["error"], 1),
        "plain": words.percent(check["plain_error"], 1),
        "closer": check["closer"],
        "tests": len(check["days"]),
        "inside": words.percent(check["inside"]),
        "wanted": words.percent(forecast.HIGH - forecast.LOW),
    }
    lines = [
        _(
            "Tried on %(tests)s past spans: it missed by %(error)s of what was bought, “the same as the weeks before” by"
            " %(plain)s; it was closer in %(closer)s of %(tests)s."
        )
        % told,
        _("%(inside)s of what came lay within its range; %(wanted)s should.") % told,
    ]
    if not check["better"]:
        lines.append(_("The plain figure was no worse here: go by the last weeks, so no advice is given."))
    return lines
