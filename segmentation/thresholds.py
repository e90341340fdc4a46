"""Where to draw the line of a chance: how many customers it reaches, finds and bothers, by step of a thousandth.

The counts are of the scores as they are stored now, so they equal the list that the same line exports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db.models import Count, F, FloatField, IntegerField, QuerySet, Sum, Value
from django.db.models.functions import Cast, Floor

from segmentation import targets
from segmentation.models import Score, Target

STEPS = 1000


@dataclass(frozen=True)
class Step:
    """Customers whose chance is at least `at`: how many, and how many of them are cases by their own chances."""

    at: float
    reached: int
    caught: float

    @property
    def bothered(self) -> float:
        return self.reached - self.caught


@dataclass(frozen=True)
class Costs:
    """Money in major units: what reaching one costs, what a case that is found is worth, if acting helps this often."""

    contact: float = 1.0
    worth: float = 20.0
    success: float = 0.2

    def gain(self, step: Step) -> float:
        return step.caught * self.worth * self.success - step.reached * self.contact


def has_line(target: Target) -> bool:
    """Chances of one thing: to stop buying, or a labelled risk."""
    return target.kind == Target.Kind.CHURN or (
        target.kind == Target.Kind.RISK and targets.is_labelled(target)
    )


def steps(target: Target) -> list[Step]:
    """From everybody (at 0) to nobody, as many as there are different counts, in one query."""
    bucket = Cast(Floor(Cast(F("value") * Value(float(STEPS)) + Value(1e-6), FloatField())), IntegerField())
    rows = _scored(target).order_by().annotate(step=bucket).values("step")
    found = {
        row["step"]: (row["n"], row["chances"]) for row in rows.annotate(n=Count("*"), chances=Sum("value"))
    }
    reached, caught, made = 0, 0.0, []
    for step in sorted(found, reverse=True):
        reached += found[step][0]
        caught += found[step][1]
        made.append(Step(step / STEPS, reached, caught))
    return made[::-1]


def at(line: float, made: Sequence[Step]) -> Step:
    """The step that a line falls on: whoever has at least this chance."""
    reached = [step for step in made if step.at >= line - 1e-9]
    return Step(line, reached[0].reached, reached[0].caught) if reached else Step(line, 0, 0.0)


def by_capacity(made: Sequence[Step], most: int) -> float:
    """The lowest line that reaches at most `most` customers."""
    fitting = [step.at for step in made if step.reached <= most]
    return min(fitting) if fitting else 1.0


def by_cost(made: Sequence[Step], costs: Costs) -> float:
    """The line with the largest expected gain; beyond the last customer where nobody is worth reaching."""
    best = max(made, key=costs.gain, default=None)
    return best.at if best is not None and costs.gain(best) > 0 else 1.0


def listed(target: Target, line: float) -> Iterator[tuple[str, float]]:
    """(customer's own id, chance) of everyone reached, the highest first; as many as the step says."""
    rows = _scored(target).filter(value__gte=_edge(line)).order_by("-value", "customer_id")
    for reference, chance in rows.values_list("customer__reference", "value").iterator(chunk_size=2000):
        yield reference, float(chance or 0.0)


def _edge(line: float) -> float:
    """Scores have six decimals: a little below the line is on it."""
    return line - 1e-6 / STEPS * 0.999


def _scored(target: Target) -> QuerySet[Score, Score]:
    return Score.objects.filter(target=target, abstain_reason="", value__isnull=False)
