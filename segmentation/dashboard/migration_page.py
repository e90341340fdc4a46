"""How customers moved between value tiers from one day to another: a Sankey diagram, and the same as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from django.utils.translation import gettext as _

from segmentation import segment_history, targets
from segmentation.dashboard import words
from segmentation.dashboard.charts import Table
from segmentation.models import Shop, Target

WIDTH, HEIGHT, BAR, GAP, TOP = 720, 360, 14, 12, 8
TONES = {"high": "primary", "middle": "blue", "low": "amber", "none": "slate", "": "line"}
ORDER = ("high", "middle", "low", "none", "")


@dataclass(frozen=True)
class Node:
    """A tier on one side: a bar from y, `height` high, with its words beside."""

    label: str
    shown: str
    tone: str
    x: float
    y: float
    height: float
    text_x: float
    anchor: str


@dataclass(frozen=True)
class Flow:
    path: str
    width: float
    tone: str
    title: str


@dataclass(frozen=True)
class MigrationView:
    first: date | None
    last: date | None
    known: str
    problem: str
    nodes: tuple[Node, ...] = ()
    flows: tuple[Flow, ...] = ()
    table: Table | None = None
    summary: str = ""
    width: int = WIDTH
    height: int = HEIGHT


def build(first: date | None, last: date | None) -> MigrationView:
    target = Target.objects.filter(kind=Target.Kind.VALUE_TIER, is_active=True).order_by("pk").first()
    known = None if target is None else segment_history.known_days(target)
    if target is None or known is None:
        return MigrationView(first, last, "", _("Nobody has a value tier yet; train and classify first."))
    today = Shop.get().today()
    end = min(last or today, today)
    start = first or max(known[0], end - timedelta(days=90))
    said = _("Tiers are known from %(first)s to %(last)s.") % {
        "first": words.day(known[0]),
        "last": words.day(known[1]),
    }
    if start >= end:
        return MigrationView(start, end, said, _("The first day must come before the second."))
    return _drawn(segment_history.migration(target, start, end), target, said)


def _drawn(found: segment_history.Migration, target: Target, said: str) -> MigrationView:
    total = sum(found.flows.values())
    if not total:
        return MigrationView(found.first, found.last, said, _("Nobody had a tier by the second day."))
    names = [*ORDER, *(name for name in targets.classes(target) if name not in ORDER)]
    scale = (HEIGHT - 2 * TOP - GAP * (len(names) - 1)) / total
    left = _column(found.flows, names, side=0, scale=scale)
    right = _column(found.flows, names, side=1, scale=scale)
    stayed = sum(count for (before, after), count in found.flows.items() if before == after)
    known_before = sum(count for (before, _after), count in found.flows.items() if before)
    summary = _(
        "Of %(known)s customers with a tier on the first day, %(stayed)s were in the same one on the second."
    )
    return MigrationView(
        found.first,
        found.last,
        said,
        "",
        nodes=(*left.values(), *right.values()),
        flows=tuple(_flows(found.flows, names, left, right, scale)),
        table=_table(found.flows, names),
        summary=summary % {"known": words.number(known_before), "stayed": words.number(stayed)},
    )


def _label(name: str) -> str:
    return str(words.tier(name)) if name else _("No tier yet")


def _column(
    flows: dict[tuple[str, str], int], names: list[str], *, side: int, scale: float
) -> dict[str, Node]:
    nodes, y = {}, float(TOP)
    for name in names:
        count = sum(n for pair, n in flows.items() if pair[side] == name)
        if not count:
            continue
        x = 150.0 if side == 0 else WIDTH - 150.0 - BAR
        nodes[name] = Node(
            _label(name),
            words.number(count),
            TONES.get(name, "teal"),
            x,
            round(y, 2),
            round(max(count * scale, 1), 2),
            x - 8 if side == 0 else x + BAR + 8,
            "end" if side == 0 else "start",
        )
        y += max(count * scale, 1) + GAP
    return nodes


def _flows(
    flows: dict[tuple[str, str], int],
    names: list[str],
    left: dict[str, Node],
    right: dict[str, Node],
    scale: float,
) -> list[Flow]:
    """Bands between the bars, in the bars' order on both sides so that they cross as little as they can."""
    starts = {name: node.y for name, node in left.items()}
    ends = {name: node.y for name, node in right.items()}
    drawn = []
    for before in names:
        for after in names:
            count = flows.get((before, after), 0)
            if not count:
                continue
            width = max(count * scale, 0.5)
            y0, y1 = starts[before] + width / 2, ends[after] + width / 2
            starts[before] += width
            ends[after] += width
            x0, x1 = left[before].x + BAR, right[after].x
            middle = (x0 + x1) / 2
            path = f"M{x0:.1f},{y0:.1f} C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
            title = _("%(before)s → %(after)s: %(count)s") % {
                "before": _label(before),
                "after": _label(after),
                "count": words.number(count),
            }
            drawn.append(Flow(path, round(width, 2), TONES.get(after, "teal"), title))
    return drawn


def _table(flows: dict[tuple[str, str], int], names: list[str]) -> Table:
    after = [name for name in names if any(pair[1] == name for pair in flows)]
    rows = [
        (_label(before), *(words.number(flows.get((before, name), 0)) for name in after))
        for before in names
        if any(pair[0] == before for pair in flows)
    ]
    return Table((_("Tier before ↓ / after →"), *(_label(name) for name in after)), tuple(rows))
