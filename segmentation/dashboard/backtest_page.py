"""A backtest in words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation.choices import Margin
from segmentation.dashboard import previews, words
from segmentation.dashboard.charts import Table
from segmentation.models import PolicyBacktest, Shop
from segmentation.models.customers import PriorityLevel

SELECTION = {
    "segment": gettext_lazy(
        "Members and the others differ because the rule picks them: being in the segment did not make the difference."
    ),
    "campaign": gettext_lazy(
        "Those reached and the others differ because the rule picks them: the difference is not the effect of an offer."
    ),
    "priority_rule": gettext_lazy(
        "Those reached and the others differ because the rule picks them: the difference is not the effect of the priority."
    ),
}
LIMITS = {
    "short_history": gettext_lazy(
        "There is little history before the first day, so features know less than they do now."
    ),
    "not_over": gettext_lazy(
        "The days after the last date are not over yet, so its outcome is still growing."
    ),
    "no_limits": gettext_lazy(
        "Caps, budgets and limits are not applied: the figures say whom the rules would reach."
    ),
    "models_of_today": gettext_lazy(
        "Predictions come from the models of today, which have learned from later data too."
    ),
}
OUTCOME = {"reached": gettext_lazy("reached"), "others": gettext_lazy("the others")}


def context(row: PolicyBacktest | None, shop: Shop) -> dict[str, Any]:
    if row is None:
        return {"backtest": None}
    if row.error and not row.result:
        return {"backtest": row, "error": row.error}
    days: Mapping[str, Any] = row.result.get("days", {})
    limits = LIMITS | {"selection": SELECTION[_kind(row)]}
    return {
        "backtest": row,
        "table": Table(_headers(row), tuple(_row(row, day, found, shop) for day, found in days.items())),
        "conflicts": [_conflicts(day, found, shop) for day, found in days.items()],
        "limits": [str(limits[code]) for code in row.result.get("limits", ())],
        "sampled": row.result.get("sampled", False),
    }


def _kind(row: PolicyBacktest) -> str:
    if row.segment_id is not None:
        return "segment"
    return "campaign" if row.campaign_id is not None else "priority_rule"


def _headers(row: PolicyBacktest) -> tuple[str, ...]:
    """Only what gives offers costs anything."""
    return (
        _("Day"),
        _("Customers"),
        _("Reached"),
        *((_("Cost"),) if row.campaign_id else ()),
        _("Ordered after: reached"),
        _("the others"),
        _("Spent each: reached"),
        _("the others"),
    )


def _row(row: PolicyBacktest, day: str, found: Mapping[str, Any], shop: Shop) -> tuple[str, ...]:
    reached, others = found["outcome"]["reached"], found["outcome"]["others"]

    def each(side: Mapping[str, float]) -> str:
        return words.money(int(side["spend_each"] * shop.minor_per_major), shop.base_currency)

    return (
        date_format(date.fromisoformat(day), "SHORT_DATE_FORMAT"),
        words.number(found["seen"]),
        words.number(found["reached"]),
        *((words.money(found["cost_minor"], shop.base_currency, whole=True),) if row.campaign_id else ()),
        words.percent(reached["ordered_share"], 1),
        words.percent(others["ordered_share"], 1),
        each(reached),
        each(others),
    )


def _conflicts(day: str, found: Mapping[str, Any], shop: Shop) -> tuple[str, list[str]]:
    lines = list(_lines(found))
    if "budget" in found:
        lines += [_("with the whole budget:"), *previews.marginal(Margin(**found["budget"]), shop)]
    return date_format(date.fromisoformat(day), "SHORT_DATE_FORMAT"), lines


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for name, count in found["against"].items():
        yield _("“%(name)s” comes first for %(count)s") % {"name": name, "count": words.number(count)}
    for name, count in found["beside"].items():
        yield _("%(count)s also fit “%(name)s”") % {"name": name, "count": words.number(count)}
    for move, count in found["moves"].items():
        before, after = (PriorityLevel[level].label for level in move.split(">"))
        yield _("%(count)s from %(before)s to %(after)s") % {
            "count": words.number(count),
            "before": before,
            "after": after,
        }
