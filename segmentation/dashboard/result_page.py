"""A campaign's measured result in plain words: what it changed, how sure that is, and what came of the offers given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from segmentation.dashboard import charts, words
from segmentation.models import CampaignResult

TITLES: dict[str, Promise] = {
    "conversion": gettext_lazy("Customers who ordered"),
    "revenue": gettext_lazy("Spend a customer"),
    "margin": gettext_lazy("Margin a customer"),
}
STATES: dict[str, tuple[Promise, str]] = {
    "clear": (gettext_lazy("clear"), "good"),
    "small": (gettext_lazy("no effect worth knowing"), "info"),
    "open": (gettext_lazy("not enough data yet"), "warn"),
    "unknown": (gettext_lazy("cannot be told"), "plain"),
}
WAYS: dict[str, Promise] = {
    "plain": gettext_lazy("plain difference"),
    "adjusted": gettext_lazy("adjusted by earlier spend (CUPED)"),
}


@dataclass(frozen=True)
class Finding:
    """One outcome: its state as a badge, and a sentence."""

    title: words.Text
    state: words.Text
    tone: str
    sentence: str


@dataclass(frozen=True)
class View:
    up_to: date | None
    window: str
    findings: tuple[Finding, ...]
    arms: charts.Table
    offers: charts.Table
    effects: charts.Table
    drawn: tuple[charts.Chart, ...]
    segments: charts.Table | None
    limits: tuple[str, ...]


def view(row: CampaignResult) -> View:
    found: Mapping[str, Any] = row.result or {}
    told = Told(found)
    return View(
        # A result knows what happened before `as_of`; staff read the last day that counted.
        up_to=row.as_of - timedelta(days=1) if row.as_of else None,
        window=ngettext("%(days)s day", "%(days)s days", found["window_days"])
        % {"days": found["window_days"]},
        findings=tuple(told.finding(name) for name, _outcome in _in_order(found["outcomes"])),
        arms=_arms(found),
        offers=_offers(found, told),
        effects=_effects(found, told),
        drawn=tuple(_charts(found, told)),
        segments=_segments(found, told),
        limits=tuple(_limits(found)),
    )


def _in_order(outcomes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """As they are told: PostgreSQL's JSON keeps no order of its own."""
    return [(name, outcomes[name]) for name in TITLES if name in outcomes]


class Told:
    """The figures of a result in the reader's own format, rounded: the format alone would cut them."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found
        self.currency = str(found["currency"])

    def level(self, name: str, value: float | None) -> str:
        if value is None:
            return words.NOTHING
        if name == "conversion":
            return _("%(number)s %%") % {"number": words.number(round(100 * value, 1), 1)}
        return words.major(round(value, 2), self.currency)

    def effect(self, name: str, value: float | None) -> str:
        """With its sign; of shares in percentage points."""
        if value is None:
            return words.NOTHING
        sign = "+" if value > 0 else ""
        if name == "conversion":
            return _("%(number)s points") % {"number": f"{sign}{words.number(round(100 * value, 2), 2)}"}
        return f"{sign}{words.major(round(value, 2), self.currency)}"

    def interval(self, name: str, figure: Mapping[str, Any]) -> str:
        if figure["low"] is None:
            return words.NOTHING
        return _("%(low)s to %(high)s") % {
            "low": self.effect(name, figure["low"]),
            "high": self.effect(name, figure["high"]),
        }

    def finding(self, name: str) -> Finding:
        outcome = self.found["outcomes"][name]
        figure = _judged_by(outcome)
        state, tone = STATES[outcome["state"]]
        sentences: dict[str, Callable[[str, Mapping[str, Any], Mapping[str, Any]], str]] = {
            "clear": self._clear,
            "small": self._small,
            "open": self._open,
        }
        said = sentences.get(outcome["state"])
        sentence = self._unknown() if said is None else said(name, outcome, figure)
        if outcome["state"] == "clear" and figure["value"] < 0:
            tone = "bad"
        return Finding(TITLES[name], state, tone, sentence)

    def _figures(self, name: str, figure: Mapping[str, Any]) -> dict[str, str]:
        return {
            "effect": self.effect(name, figure["value"]),
            "interval": self.interval(name, figure),
            "with": self.level(name, figure["treated_mean"]),
            "without": self.level(name, figure["control_mean"]),
        }

    def _clear(self, name: str, outcome: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
        said = self._figures(name, figure)
        if figure["value"] > 0:
            return (
                _("The campaign raised it: %(effect)s (%(interval)s); %(with)s with it, %(without)s without.")
                % said
            )
        return (
            _("The campaign lowered it: %(effect)s (%(interval)s); %(with)s with it, %(without)s without.")
            % said
        )

    def _small(self, name: str, outcome: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
        said = self._figures(name, figure) | {"relevant": self.effect(name, outcome["relevant"])}
        return (
            _("An effect of %(relevant)s or more, either way, is ruled out: %(effect)s (%(interval)s).")
            % said
        )

    def _open(self, name: str, outcome: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
        said = self._figures(name, figure) | {"relevant": self.effect(name, outcome["relevant"])}
        first = _("So far %(effect)s (%(interval)s): the interval holds zero.") % said
        if outcome["days"] is not None:
            days = outcome["days"]
            return (
                first
                + " "
                + ngettext(
                    "About %(days)s more day at the present pace, and an effect of %(relevant)s would show.",
                    "About %(days)s more days at the present pace, and an effect of %(relevant)s would show.",
                    days,
                )
                % {"days": words.number(days), "relevant": said["relevant"]}
            )
        if self.found.get("ended"):
            return first + " " + _("The campaign has ended, so no more customers come in to tell.")
        return (
            first
            + " "
            + _(
                "At the present pace an effect of %(relevant)s will not show within two years: hold out more customers, "
                "or look for a larger effect."
            )
            % said
        )

    def _unknown(self) -> str:
        arms = self.found["arms"]
        if self.found["control"] == "none":
            return _("Nobody was held out, so there is nothing to compare with. Give the campaign a holdout.")
        if not arms["treated"]["customers"] or not arms["control"]["customers"]:
            return _("No customer's %(days)s days are over in one of the arms yet.") % {
                "days": self.found["window_days"]
            }
        return _("Nothing differs between customers yet, so no interval can be told.")


def _judged_by(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The headline with the interval that its state is told by; results of older versions have none of their own."""
    return {**outcome[outcome["headline"]], **outcome.get("lasting", {})}


def _arms(found: Mapping[str, Any]) -> charts.Table:
    names = {
        "treated": _("meant to get the offer"),
        "control": _("held out of all campaigns") if found["control"] == "global" else _("held out"),
    }
    rows = tuple(
        (names[arm], words.number(counts["customers"]), words.number(counts["waiting"]))
        for arm, counts in ((arm, found["arms"][arm]) for arm in names)
    )
    return charts.Table((_("arm"), _("customers measured"), _("days not over yet")), rows)


def _offers(found: Mapping[str, Any], told: Told) -> charts.Table:
    redeemed = found["redeemed"]
    rows = [
        (_("customers who got the offer"), words.number(found["given"])),
        (
            _("of these reached a receiver"),
            words.NOTHING if found["delivered"] is None else words.number(found["delivered"]),
        ),
        (_("orders with its code"), words.number(redeemed["orders"])),
        (_("customers who used a code"), words.number(redeemed["customers"])),
        (_("discount given with codes"), words.major(redeemed["discount"], told.currency)),
        (_("spend on orders with a code"), words.major(redeemed["revenue"], told.currency)),
        (_("orders with a code that was passed on"), words.number(redeemed["passed_on"])),
        (_("all orders of who got it, within the window"), words.number(found["ordered"]["orders"])),
        (_("their spend"), words.major(found["ordered"]["revenue"], told.currency)),
    ]
    return charts.Table((_("what came of the offers"), ""), tuple(rows))


def _effects(found: Mapping[str, Any], told: Told) -> charts.Table:
    rows = []
    for name, outcome in _in_order(found["outcomes"]):
        for way in ("plain", "adjusted"):
            figure = outcome[way]
            rows.append(
                (
                    f"{TITLES[name]}: {WAYS[way]}",
                    told.level(name, figure["treated_mean"]),
                    told.level(name, figure["control_mean"]),
                    told.effect(name, figure["value"]),
                    told.interval(name, figure),
                    words.percent(round(figure["reduction"] or 0, 2)) if way == "adjusted" else words.NOTHING,
                )
            )
    headers = (
        _("outcome"),
        _("with the campaign"),
        _("held out"),
        _("effect"),
        _("95 percent interval of a single look"),
        _("variance taken away"),
    )
    return charts.Table(headers, tuple(rows))


def _charts(found: Mapping[str, Any], told: Told) -> Iterator[charts.Chart]:
    for name, outcome in _in_order(found["outcomes"]):
        groups = [
            (_("Everybody"), outcome),
            *((one["name"], one["outcomes"][name]) for one in found["segments"]),
        ]
        scale = 100 if name == "conversion" else 1
        rows = []
        for label, one in groups:
            figure = _judged_by(one)
            if figure["low"] is not None:
                rows.append((str(label), *(scale * figure[end] for end in ("value", "low", "high"))))
        if rows:
            unit = _("percentage points") if name == "conversion" else told.currency
            yield charts.intervals(f"result-{name}", str(TITLES[name]), rows, unit)


def _segments(found: Mapping[str, Any], told: Told) -> charts.Table | None:
    if not found["segments"]:
        return None
    rows = []
    for one in found["segments"]:
        cells = []
        for name, outcome in _in_order(one["outcomes"]):
            figure = _judged_by(outcome)
            cells.append(f"{told.effect(name, figure['value'])} ({told.interval(name, figure)})")
        size = one["outcomes"]["conversion"]["plain"]
        rows.append((one["name"], words.number(size["treated"]), words.number(size["control"]), *cells))
    headers = (
        _("segment"),
        _("with the campaign"),
        _("held out"),
        *(str(TITLES[name]) for name, _outcome in _in_order(found["outcomes"])),
    )
    return charts.Table(headers, tuple(rows))


def _limits(found: Mapping[str, Any]) -> Iterator[str]:
    yield _(
        "Everybody who fitted the campaign is compared as they were drawn, whether or not they got the offer in the end "
        "(intention to treat), so the effect on those who got it is larger."
    )
    if any("lasting" in outcome for outcome in found["outcomes"].values()):
        yield _(
            "The campaign is measured every night. The intervals above and in the charts hold at all these looks together, "
            "and only they say what is clear. That of a single look, in the table, is narrower: it is right for who fixed "
            "the day beforehand and looks once."
        )
    yield _(
        "An order counts from the moment a customer came into the campaign, for as many days. Returns are not taken off."
    )
    if found.get("not_compared"):
        yield _(
            "%(count)s customers came in while nobody was held out, or nobody left in: there is nobody to compare them "
            "with, and they are in no effect."
        ) % {"count": words.number(found["not_compared"])}
    if found["control"] == "global":
        yield _(
            "The campaign has no holdout of its own: those compared with are held out of all campaigns, so what other "
            "campaigns changed is in the effect as well."
        )
    if found["margin_of_purchase"] is None:
        yield _("No rule of the campaign says what a purchase earns, so the margin is not told.")
    else:
        yield _(
            "Margin: orders times what the rules say a purchase earns, less the cost of the offers each customer got in "
            "those days, used or not."
        )
    if found["segments"]:
        yield _(
            "Segments are those of the day a customer came in. Of twenty segments without any difference one may be "
            "clear by chance."
        )
