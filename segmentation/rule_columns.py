"""Columns of the decision frame that only some rules ask for: questions about events, draws of chance, lists kept by hand.

What no rule in force asks about is never worked out, so a shop without such rules pays one look-up a scoring.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from segmentation import bulk, event_lines, in_force
from segmentation.ml import splits
from segmentation.models import Category, ListEntry, Shop
from segmentation.products import MASK_BITS
from segmentation.rules import language
from segmentation.rules.event_products import LINES
from segmentation.rules.events import EventQuery, Measure
from segmentation.rules.fields import DRAW, LISTED, RuleField
from segmentation.rules.language import Node
from segmentation.rules.measures import Setting, asks_lines, columns
from segmentation.stages import stage

if TYPE_CHECKING:
    from segmentation.decisions.policy import Policy

# A draw has this many places on its scale of 100.
PLACES = 100


@dataclass(frozen=True)
class Wanted:
    """queries: questions about events. draws: names of draws. lists: short names of segments with entries by hand."""

    queries: tuple[EventQuery, ...] = ()
    draws: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.queries or self.draws or self.lists)


NOTHING = Wanted()


def of(nodes: Iterable[Node | None]) -> Wanted:
    """What these rules ask for."""
    asked: dict[str, RuleField] = {}
    for node in nodes:
        if node is not None:
            asked |= {condition.field.name: condition.field for condition in language.conditions(node)}
    names = sorted(asked)
    return Wanted(
        queries=tuple(query for name in names if (query := asked[name].query) is not None),
        draws=tuple(name for name in names if DRAW.fullmatch(name)),
        lists=tuple(name.removeprefix(LISTED) for name in names if name.startswith(LISTED)),
    )


def of_policy(policy: Policy) -> Wanted:
    """What a policy's segments, candidates and priority rules ask for."""
    rules: list[Node | None] = [definition.node for definition in policy.definitions]
    rules += [candidate.node for candidate in policy.candidates]
    rules += [priority.node for priority in policy.priorities]
    return of(rules)


def wanted(today: date) -> Wanted:
    """What the segments, campaigns and service priorities of a day ask for."""
    return in_force.kept(("rule columns", today), lambda: (_wanted(today), True))


def _wanted(today: date) -> Wanted:
    from segmentation import segments
    from segmentation.decisions import policy as policies

    policy = policies.current(today)
    rules: list[Node | None] = [d.node for d in (*segments.definitions(), *policy.definitions)]
    rules += [candidate.node for candidate in policy.candidates]
    rules += [priority.node for priority in policy.priorities]
    return of(rules)


@stage("rules")
def add(
    frame: pl.DataFrame, asked: Wanted, *, events: Callable[[], pl.DataFrame], as_of: date, shop: Shop
) -> pl.DataFrame:
    """The frame with the columns that are asked for. events: gives the events frame; called only when it is needed."""
    if not asked:
        return frame
    ids = frame["customer_id"]
    found = [_draw(name, ids) for name in asked.draws]
    found += _listed(asked.lists, ids)
    if asked.queries:
        known = events()
        setting = Setting(
            as_of, shop.zone, shop.minor_per_major, _bits(asked.queries), _lines(asked.queries, known)
        )
        found += columns(asked.queries, known, ids=ids, setting=setting)
    return frame.hstack(found)


def _lines(queries: Sequence[EventQuery], events: pl.DataFrame) -> pl.DataFrame:
    """Lines of the events, read only where a question asks about products."""
    kinds, products = asks_lines(queries)
    return event_lines.read(events, kinds=kinds, products=products) if kinds else pl.DataFrame(schema=LINES)


def _draw(name: str, ids: pl.Series) -> pl.Series:
    """A number from 0 up to 100, by a hash of the id and the draw's name: always the same for a customer."""
    share = splits.stable_share(ids.to_numpy(), salt=zlib.crc32(name.encode()))
    return pl.Series(name, np.floor(share * 100 * PLACES) / PLACES)


def _bits(queries: Sequence[EventQuery]) -> dict[str, int]:
    """The bits of the categories that are asked about; of all where a question tells categories."""
    rows = Category.objects.order_by("number")
    if not any(query.measure is Measure.LAST_CATEGORY for query in queries):
        names = set().union(*(query.categories for query in queries))
        if not names:
            return {}
        rows = rows.filter(name__in=names)
    return {name: number % MASK_BITS for name, number in rows.values_list("name", "number")}


def _listed(slugs: Sequence[str], ids: pl.Series) -> list[pl.Series]:
    """list.<slug>: True where the customer was put in by hand, False where taken out, else null.

    Entries of somebody who was merged into a customer count for that customer; taken out wins.
    """
    if not slugs:
        return []
    entries = ListEntry.objects.filter(segment__slug__in=slugs)
    keys = ids.to_list()
    own = bulk.values_in(entries, keys, "segment__slug", "customer_id", "is_member", by="customer_id")
    merged = bulk.values_in(
        entries, keys, "segment__slug", "customer__merged_into_id", "is_member", by="customer__merged_into_id"
    )
    said: dict[tuple[str, int], bool] = {}
    for slug, customer, is_member in (*own, *merged):
        said[slug, customer] = said.get((slug, customer), True) and is_member
    return [
        pl.Series(f"{LISTED}{slug}", [said.get((slug, key)) for key in keys], dtype=pl.Boolean)
        for slug in slugs
    ]
