"""The page where a line is drawn, and the list that it exports."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from segmentation import thresholds
from segmentation.dashboard import charts, words
from segmentation.models import Shop, Target
from segmentation.thresholds import STEPS, Costs, Step

if TYPE_CHECKING:
    from segmentation.admin.forms import ThresholdForm

DEFAULT_LINE = 0.5
PER_CENT = 100
POINTS = 100


@dataclass(frozen=True)
class Found:
    """table: [line, reached, caught] of every step, for the slider. line: where it stands at first."""

    line: float
    step: Step
    total: int
    cases: float
    gain: str
    currency: str
    costs: Costs
    table: list[list[float]]
    chart: charts.Chart | None

    @property
    def reached(self) -> str:
        return words.number(self.step.reached)

    @property
    def caught(self) -> str:
        return words.number(self.step.caught)

    @property
    def bothered(self) -> str:
        return words.number(self.step.reached - round(self.step.caught))

    @property
    def missed(self) -> str:
        return words.number(round(self.cases) - round(self.step.caught))

    @property
    def at(self) -> str:
        """As addresses carry it, whatever the reader's decimal sign."""
        return f"{self.line:.3f}"


def build(target: Target, form: ThresholdForm, shop: Shop) -> Found:
    """What the line of the form reaches; a form with mistakes in it stands at the default line."""
    made = thresholds.steps(target)
    given = form.cleaned_data if form.is_valid() else {}
    costs = _costs(given)
    line = _line(form, given, made, costs)
    step = thresholds.at(line, made)
    whole = made[0] if made else Step(0.0, 0, 0.0)
    return Found(
        line=line,
        step=step,
        total=whole.reached,
        cases=whole.caught,
        gain=words.major(costs.gain(step), shop.base_currency),
        currency=shop.base_currency,
        costs=costs,
        table=[[step.at, step.reached, round(step.caught, 3)] for step in made],
        chart=_chart(made) if made else None,
    )


def line_of(text: str) -> float | None:
    """A line between 0 and 1 in thousandths, or None where it is none."""
    try:
        line = float(text)
    except ValueError:
        return None
    return _rounded(line) if math.isfinite(line) and 0 <= line <= 1 else None


def lines(target: Target, line: float) -> Iterator[str]:
    """The exported list as CSV text, header first."""
    yield _row([_("customer"), _("chance")])
    for reference, chance in thresholds.listed(target, line):
        yield _row([reference, f"{chance:.6f}"])


def _row(cells: list[Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(_safe(str(cell)) for cell in cells)
    return out.getvalue()


def _safe(cell: str) -> str:
    """A spreadsheet must not take a customer's id for a formula."""
    return f"'{cell}" if cell[:1] in "=+-@\t\r" else cell


def _costs(given: dict[str, Any]) -> Costs:
    usual = Costs()
    asked = {name: given.get(name) for name in ("contact", "worth", "success")}
    success = usual.success if asked["success"] is None else min(asked["success"] / PER_CENT, 1.0)
    return Costs(
        contact=usual.contact if asked["contact"] is None else asked["contact"],
        worth=usual.worth if asked["worth"] is None else asked["worth"],
        success=success,
    )


def _line(form: ThresholdForm, given: dict[str, Any], made: list[Step], costs: Costs) -> float:
    if given.get("by") == form.BY_CAPACITY and given.get("capacity") is not None:
        return thresholds.by_capacity(made, given["capacity"])
    if given.get("by") == form.BY_COST:
        return thresholds.by_cost(made, costs)
    at = given.get("at")
    return DEFAULT_LINE if at is None else _rounded(at)


def _rounded(line: float) -> float:
    return round(line * STEPS) / STEPS


def _chart(made: list[Step]) -> charts.Chart:
    every = max(len(made) // POINTS, 1)
    shown = [*made[::every], made[-1]]
    return charts.lines(
        "line",
        _("Reached and found, by line"),
        _("How many customers each line reaches, and how many of them are cases by their own chances."),
        [
            charts.Line(_("reached"), [(step.at, step.reached) for step in shown]),
            charts.Line(_("found"), [(step.at, step.caught) for step in shown], color="teal"),
        ],
        charts.Axes(_("chance from which on"), _("customers"), x_max=1),
    )
