"""The curves of one test for staff: found and alarmed in vain, precision, reliability, gain, lift, deciles, confusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation.dashboard import charts, effect_page, words
from segmentation.models import Target


@dataclass(frozen=True)
class Cases:
    """What is found and who is alarmed in vain, in the words of the target."""

    roc: words.Text
    alarmed: words.Text
    found: words.Text
    precision: words.Text


CASES: dict[str, Cases] = {
    Target.Kind.CHURN: Cases(
        roc=gettext_lazy(
            "Share of leavers found against share of stayers alarmed in vain; the diagonal is chance."
        ),
        alarmed=gettext_lazy("stayers alarmed"),
        found=gettext_lazy("leavers found"),
        precision=gettext_lazy(
            "How many of those named really leave, against how many of all leavers are named."
        ),
    )
}
OTHER_CASES = Cases(
    roc=gettext_lazy(
        "Share of cases found against share of the others named in vain; the diagonal is chance."
    ),
    alarmed=gettext_lazy("others named"),
    found=gettext_lazy("cases found"),
    precision=gettext_lazy(
        "How many of those named really are cases, against how many of all cases are named."
    ),
)


def drawn(slug: str, curves: Mapping[str, Any], target: Target) -> list[charts.Chart]:
    """Of whatever a test has left. slug: tells the charts of one page apart."""
    cases = CASES.get(target.kind, OTHER_CASES)
    made = []
    if qini := curves.get("qini"):
        made += effect_page.curves(slug, qini, curves.get("bands", ()))
    if roc := curves.get("roc"):
        made.append(_roc(slug, roc, cases))
    if recall := curves.get("precision_recall"):
        made.append(_precision_recall(slug, recall, cases))
    if reliability := curves.get("reliability"):
        made.append(_reliability(slug, reliability))
    if gains := curves.get("gains"):
        made.append(_gains(slug, gains))
        made.append(_lift(slug, gains))
        if not curves.get("reliability"):
            made.append(_deciles(slug, gains))
    return made


def _roc(slug: str, roc: Mapping[str, list[float]], cases: Cases) -> charts.Chart:
    points = list(zip(roc["false_positive_rate"], roc["true_positive_rate"], strict=True))
    return charts.lines(
        f"{slug}-roc",
        _("ROC curve"),
        str(cases.roc),
        [
            charts.Line(_("this version"), points),
            charts.Line(_("chance"), [(0, 0), (1, 1)], color="slate", dashed=True),
        ],
        charts.Axes(str(cases.alarmed), str(cases.found), percent=True, x_max=1, y_max=1),
    )


def _precision_recall(slug: str, curve: Mapping[str, list[float]], cases: Cases) -> charts.Chart:
    points = list(zip(curve["recall"], curve["precision"], strict=True))
    return charts.lines(
        f"{slug}-pr",
        _("Precision and recall"),
        str(cases.precision),
        [charts.Line(_("this version"), points)],
        charts.Axes(str(cases.found), _("correct among the named"), percent=True, x_max=1, y_max=1),
    )


def _reliability(slug: str, bins: list[Mapping[str, float]]) -> charts.Chart:
    points = [(part["predicted"], part["observed"]) for part in bins]
    return charts.lines(
        f"{slug}-reliability",
        _("Is “30 %” three in ten?"),
        _(
            "Predicted against observed share in ten groups of equal size; on the diagonal the chances are honest."
        ),
        [
            charts.Line(_("this version"), points, dots=True),
            charts.Line(_("honest"), [(0, 0), (1, 1)], color="slate", dashed=True),
        ],
        charts.Axes(_("predicted"), _("observed"), percent=True, x_max=1, y_max=1),
    )


def _gains(slug: str, deciles: list[Mapping[str, float]]) -> charts.Chart:
    points = [(0.0, 0.0), *((part["decile"] / len(deciles), part["gain"]) for part in deciles)]
    return charts.lines(
        f"{slug}-gains",
        _("What the top of the list holds"),
        _("Share of the whole reached by taking the highest-scored customers first; the diagonal is chance."),
        [
            charts.Line(_("this version"), points, dots=True),
            charts.Line(_("chance"), [(0, 0), (1, 1)], color="slate", dashed=True),
        ],
        charts.Axes(_("customers taken"), _("share reached"), percent=True, x_max=1, y_max=1),
    )


def _lift(slug: str, deciles: list[Mapping[str, float]]) -> charts.Chart:
    points = [(part["decile"] / len(deciles), part["lift"]) for part in deciles]
    return charts.lines(
        f"{slug}-lift",
        _("How many times better than chance"),
        _("Lift of the customers taken first over as many customers taken at random; 1 is chance."),
        [
            charts.Line(_("this version"), points, dots=True),
            charts.Line(_("chance"), [(0, 1), (1, 1)], color="slate", dashed=True),
        ],
        charts.Axes(_("customers taken"), _("lift"), x_max=1),
    )


def _deciles(slug: str, deciles: list[Mapping[str, float]]) -> charts.Chart:
    return charts.lines(
        f"{slug}-deciles",
        _("Expected and real spend by tenth of customers"),
        _("Mean expected beside mean real spend, the highest-scored tenth first."),
        [
            charts.Line(_("expected"), [(part["decile"], part["predicted"]) for part in deciles], dots=True),
            charts.Line(_("real"), [(p["decile"], p["actual"]) for p in deciles], color="amber", dots=True),
        ],
        charts.Axes(_("tenth of customers"), _("spend a customer"), x_min=1, x_max=len(deciles)),
    )


def confusion(curves: Mapping[str, Any], target: Target) -> charts.HeatTable | None:
    counts = curves.get("confusion")
    if not counts:
        return None
    two = (
        [_("stays"), _("leaves")] if target.kind == Target.Kind.CHURN else [_("not the risk"), _("the risk")]
    )
    classes = curves.get("classes") or two
    named = [str(words.tier(str(name))) for name in classes]
    return charts.heat(_("Decided and true class"), named, counts)


def lifts(curves: Mapping[str, Any]) -> charts.Table | None:
    if not curves.get("gains"):
        return None
    rows = tuple(
        (
            words.number(part["decile"]),
            words.number(part["rows"]),
            words.number(part["predicted"], 2),
            words.number(part["actual"], 2),
            words.percent(part["gain"]),
            words.number(part["lift"], 2),
        )
        for part in curves["gains"]
    )
    headers = (_("tenth"), _("customers"), _("predicted"), _("real"), _("reached so far"), _("lift"))
    return charts.Table(headers, rows)
