"""What a worker found when somebody asked about a score, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from segmentation import questions
from segmentation.dashboard import score_views, words
from segmentation.dashboard.score_views import Side
from segmentation.dashboard.words import Text
from segmentation.features.catalogue import BY_NAME
from segmentation.models import Explanation, Score, Shop, Target

REFUSED: Mapping[str, Text] = {
    questions.NO_SCORE: gettext_lazy("The customer has another score by now. Ask again."),
    questions.NO_ORDERS: gettext_lazy(
        "The customer has not ordered yet, so there is no usual order to think of."
    ),
    questions.READS_EVENTS: gettext_lazy(
        "The model reads the order of events, which LIME cannot take apart. See what would change it instead."
    ),
    questions.OUTDATED: gettext_lazy("The model knows other features than the shop has now. Train again."),
}
EXTRAS: Mapping[str, Text] = {
    "visits": gettext_lazy("comes to look at products on three days"),
    "review": gettext_lazy("leaves a good review"),
    "ticket": gettext_lazy("has the open support ticket settled"),
}


@dataclass(frozen=True)
class AnswerView:
    """lines: sentences. sides: reasons for and against. moved: what the steps change: (feature, before, after)."""

    lines: tuple[str, ...] = ()
    sides: tuple[Side, ...] = ()
    moved: tuple[tuple[str, str, str], ...] = ()


def view(row: Explanation, score: Score, shop: Shop) -> AnswerView | None:
    """None while a worker has not answered."""
    found = row.result
    if found is None:
        return None
    if "refused" in found:
        return AnswerView((str(REFUSED.get(found["refused"], found["refused"])),))
    return (
        _lime(found, score, shop) if row.kind == Explanation.Kind.LIME else _change(row, found, score, shop)
    )


def wanted_words(target: Target, wanted: str) -> str:
    if target.kind == Target.Kind.CHURN:
        return str(next(band.words for band in words.RISK_BANDS if band.slug == wanted))
    return str(words.tier(wanted))


def _lime(found: Mapping[str, Any], score: Score, shop: Shop) -> AnswerView:
    note = _(
        "Found by LIME: a simple model that imitates the real one around this customer. It explains %(fit)s of how the "
        "real answers differ there; what is left, no simple reason explains."
    ) % {"fit": words.percent(max(found["fit"], 0.0))}
    return AnswerView((note,), tuple(score_views.sides(score, found, shop)))


def _change(row: Explanation, found: Mapping[str, Any], score: Score, shop: Shop) -> AnswerView:
    told = {"wanted": wanted_words(row.target, row.wanted), "steps": _steps(found, shop)}
    if found["reached"]:
        first = _("If the customer %(steps)s, the model would say “%(wanted)s”.") % told
    elif not _has_steps(found["steps"]):
        first = _("No step that a shop can hope for brings the customer nearer to “%(wanted)s”.") % told
    else:
        first = (
            _(
                "No step that a shop can hope for leads to “%(wanted)s”. It comes nearest if the customer %(steps)s."
            )
            % told
        )
    lines = [first, *_answers(found, row.target)]
    lines.append(
        _(
            "%(tried)s possibilities were tried, the smallest first; each was scored by the serving version itself. It is "
            "what the model would say, not a promise that the customer would stay so."
        )
        % {"tried": words.number(found["tried"])}
    )
    return AnswerView(tuple(lines), moved=tuple(_moved(found, shop)))


def _has_steps(steps: Mapping[str, Any]) -> bool:
    return bool(steps["orders"] or steps["extras"])


def _steps(found: Mapping[str, Any], shop: Shop) -> str:
    steps = found["steps"]
    parts = []
    if steps["orders"]:
        amount = words.money(found["order_minor"], shop.base_currency)
        count = steps["orders"]
        template = ngettext(
            "orders once more for %(amount)s (%(size)s times the usual)",
            "orders %(count)s times more, a week apart, for %(amount)s each (%(size)s times the usual)",
            count,
        )
        if steps["size"] == 1:
            template = ngettext(
                "orders once more as usual (%(amount)s)",
                "orders %(count)s times more as usual, a week apart (%(amount)s each)",
                count,
            )
        parts.append(template % {"amount": amount, "count": count, "size": words.number(steps["size"], 1)})
    parts += [str(EXTRAS[name]) for name in steps["extras"]]
    return _(" and ").join(parts)


def _answers(found: Mapping[str, Any], target: Target) -> Iterator[str]:
    (before, chance), (after, then) = found["now"], found["then"]
    if target.kind == Target.Kind.CHURN:
        yield _("Now: %(before)s. Then: %(after)s.") % {
            "before": words.risk(chance),
            "after": words.risk(then),
        }
        return
    told = [
        _("%(label)s, certain to %(percent)s") % {"label": words.tier(label), "percent": words.percent(share)}
        for label, share in ((before, chance), (after, then))
    ]
    yield _("Now: %(before)s. Then: %(after)s.") % {"before": told[0], "after": told[1]}


def _moved(found: Mapping[str, Any], shop: Shop) -> Iterator[tuple[str, str, str]]:
    for name, before, after in found["features"]:
        unit = BY_NAME[name].unit
        yield str(BY_NAME[name].label), words.feature(before, unit, shop), words.feature(after, unit, shop)
