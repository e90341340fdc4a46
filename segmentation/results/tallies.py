"""Sums of what became of a campaign's customers, piece by piece, so that a million never lie in memory at once.

Three outcomes of a customer within the window from the day they came into the campaign: whether they ordered, what
they spent, and the margin (orders times the margin of a purchase that the campaign's rules name, less what the offers
given in those days cost). The covariate is what the customer spent in the PRE_DAYS before. Amounts are in major units.
"""

# Names in the statement come from our own models; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

import numpy as np
import polars as pl
from django.db import connection
from django.utils import timezone

from segmentation import columns
from segmentation.features import store
from segmentation.features.days import midnight
from segmentation.features.orders import ORDER_KINDS, counted_orders
from segmentation.features.selection import Selection, select, within
from segmentation.ml.experiments import Moments
from segmentation.models import Membership, PastMembership, Segment, Shop
from segmentation.results import arms, costs

PRE_DAYS: Final = 365
CHUNK: Final = 20_000
# Below this share of a range its customers are read one by one instead of the whole range.
DENSE: Final = 0.25
OUTCOMES: Final = ("conversion", "revenue", "margin")
EVERYBODY: Final = ""
Draw = tuple[float, float]  # arms.ARMS: share, all_share
_STAYS: Final = (
    columns.Field("customer_id", "int8"),
    columns.Field("segment_id", "int8"),
    columns.Field("entered_at", "timestamptz"),
    columns.Field("left_at", "timestamptz", nullable=True),
)


@dataclass
class Tally:
    """What is known of a campaign so far. moments: (segment or EVERYBODY, arm, outcome, draw) → sums of customers whose
    window is over; draw: the chances that held customers out when they came in. waiting: (arm) → customers whose window
    is not. given: customers who got the offer at any time.
    """

    moments: dict[tuple[str, int, str, Draw], Moments] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)
    given: int = 0
    orders: int = 0
    revenue_minor: int = 0
    first: datetime | None = None
    last: datetime | None = None
    entered: dict[date, int] = field(default_factory=dict)

    def arm(self, arm: int, outcome: str = OUTCOMES[0], segment: str = EVERYBODY) -> Moments:
        parts = (self.moments.get((segment, arm, outcome, draw), Moments()) for draw in self.draws())
        return sum(parts, Moments())

    def draws(self) -> list[Draw]:
        return sorted({draw for _segment, _arm, _outcome, draw in self.moments})

    def pairs(self, control: int, outcome: str, segment: str = EVERYBODY) -> list[tuple[Moments, Moments]]:
        """(treated, control) of each draw that left customers in both: only these are alike but for chance."""
        found = []
        for draw in self.draws():
            treated = self.moments.get((segment, arms.TREATED, outcome, draw))
            held = self.moments.get((segment, control, outcome, draw))
            if treated is not None and held is not None:
                found.append((treated, held))
        return found

    def add(self, segment: str, arm: int, outcome: str, found: Moments, draw: Draw = (1.0, 1.0)) -> None:
        key = (segment, arm, outcome, draw)
        self.moments[key] = self.moments.get(key, Moments()) + found


def count(
    places: Mapping[int, arms.Places],
    *,
    shop: Shop,
    window_days: int,
    as_of: date,
    margin_minor: int,
    on_chunk: Callable[[int], None] | None = None,
) -> Tally:
    """Of every customer that these policies brought into the campaign before `as_of`. on_chunk(customers so far)."""
    tally = Tally()
    # The days of a shop that is set back are none on which offers were written down.
    written = [] if shop.frozen_on is not None else costs.counted(_campaigns(places))
    seen = 0
    for chunk in store.customer_chunks(CHUNK):
        people = arms.read(chunk, places, shop=shop).filter(pl.col("since") < midnight(as_of, shop.zone))
        seen += chunk.last - chunk.first + 1
        if not people.is_empty():
            _count(
                tally,
                people,
                chunk,
                shop=shop,
                window_days=window_days,
                as_of=as_of,
                margin_minor=margin_minor,
                written=written,
            )
        if on_chunk is not None:
            on_chunk(seen)
    return tally


def became(
    people: pl.DataFrame, chunk: store.Customers, *, shop: Shop, window_days: int, as_of: date
) -> pl.DataFrame:
    """`people` (arms.ARMS) with is_over, orders, spent_minor of the window and pre_minor of the PRE_DAYS before it."""
    whom = chunk if _is_dense(people, chunk) else people["customer_id"].to_list()
    events = store.read_events(whom, as_of=as_of, shop=shop, known_only=False, kinds=ORDER_KINDS)
    orders = counted_orders(events).select("customer_id", "occurred_at", "amount_minor")
    window = pl.duration(days=window_days)
    timed = orders.join(people.select("customer_id", "since"), on="customer_id")
    after = (pl.col("occurred_at") >= pl.col("since")) & (pl.col("occurred_at") < pl.col("since") + window)
    before = (pl.col("occurred_at") < pl.col("since")) & (
        pl.col("occurred_at") >= pl.col("since") - pl.duration(days=PRE_DAYS)
    )
    sums = timed.group_by("customer_id").agg(
        after.sum().cast(pl.Int64).alias("orders"),
        pl.col("amount_minor").filter(after).sum().cast(pl.Int64).alias("spent_minor"),
        pl.col("amount_minor").filter(before).sum().cast(pl.Int64).alias("pre_minor"),
    )
    end = _known_until(as_of, shop)
    return people.join(sums, on="customer_id", how="left", maintain_order="left").with_columns(
        pl.col("orders", "spent_minor", "pre_minor").fill_null(0),
        (pl.col("since") + window <= end).alias("is_over"),
    )


def _known_until(as_of: date, shop: Shop) -> datetime:
    """What is still to come today is not known; the day of a shop that is set back is over."""
    end = midnight(as_of, shop.zone)
    return end if shop.frozen_on is not None else min(end, timezone.now())


def _campaigns(places: Mapping[int, arms.Places]) -> list[int]:
    return sorted({campaign for place in places.values() for campaign in place.campaigns})


def _is_dense(people: pl.DataFrame, chunk: store.Customers) -> bool:
    return isinstance(chunk, store.IdRange) and people.height >= DENSE * (chunk.last - chunk.first + 1)


def _count(
    tally: Tally,
    people: pl.DataFrame,
    chunk: store.Customers,
    *,
    shop: Shop,
    window_days: int,
    as_of: date,
    margin_minor: int,
    written: Sequence[int],
) -> None:
    rows = became(people, chunk, shop=shop, window_days=window_days, as_of=as_of)
    _remember(tally, rows, shop)
    over = rows.filter("is_over")
    if over.is_empty():
        return
    treated = over.filter((pl.col("arm") == arms.TREATED) & pl.col("is_given"))
    tally.orders += int(treated["orders"].sum())
    tally.revenue_minor += int(treated["spent_minor"].sum())
    selection = select(chunk if _is_dense(over, chunk) else over["customer_id"].to_list())
    cost = costs.of_each(over, selection, written, window_days=window_days)
    values = {
        "conversion": (over["orders"] > 0).cast(pl.Float64).to_numpy(),
        "revenue": over["spent_minor"].to_numpy() / shop.minor_per_major,
        "margin": (over["orders"] * margin_minor - cost).to_numpy() / shop.minor_per_major,
    }
    before = over["pre_minor"].to_numpy() / shop.minor_per_major
    arm = over["arm"].to_numpy()
    drawn = over.select("share", "all_share").to_numpy()
    for segment, inside in [(EVERYBODY, np.ones(len(over), dtype=bool)), *_segments(over, selection)]:
        for which in np.unique(arm[inside]).tolist():
            of_arm = inside & (arm == which)
            for share, all_share in np.unique(drawn[of_arm], axis=0).tolist():
                rows_ = of_arm & (drawn == (share, all_share)).all(axis=1)
                for name in OUTCOMES:
                    found = Moments.of(values[name][rows_], before[rows_])
                    tally.add(segment, which, name, found, (share, all_share))


def _remember(tally: Tally, rows: pl.DataFrame, shop: Shop) -> None:
    """Counts that need no finished window."""
    for arm, n in rows.filter(~pl.col("is_over"))["arm"].value_counts().iter_rows():
        tally.waiting[arm] = tally.waiting.get(arm, 0) + n
    tally.given += int(rows["is_given"].sum())
    first, last = rows["since"].min(), rows["since"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    tally.first = first if tally.first is None else min(tally.first, first)
    tally.last = last if tally.last is None else max(tally.last, last)
    days = (
        rows.filter(pl.col("arm") != arms.HELD_OUT_OF_ALL)["since"]
        .dt.convert_time_zone(shop.zone.key)
        .dt.date()
    )
    for day, n in days.value_counts().iter_rows():
        tally.entered[day] = tally.entered.get(day, 0) + n


def _segments(over: pl.DataFrame, selection: Selection) -> Iterator[tuple[str, np.ndarray]]:
    """(slug, (n,) who was in it when they came into the campaign) of active segments: what came later may be effect."""
    slugs = dict(Segment.objects.filter(is_active=True).values_list("pk", "slug"))
    stays = _stays(selection, sorted(slugs))
    numbered = over.select("customer_id", "since").with_row_index("row")
    held = stays.join(numbered, on="customer_id").filter(
        pl.col("entered_at") <= pl.col("since"),
        pl.col("left_at").is_null() | (pl.col("left_at") > pl.col("since")),
    )
    for part in held.partition_by("segment_id"):
        inside = np.zeros(over.height, dtype=bool)
        inside[part["row"].to_numpy()] = True
        yield slugs[part["segment_id"][0]], inside


def _stays(selection: Selection, segments: Sequence[int]) -> pl.DataFrame:
    """When the customers of a piece were in these segments, under whichever of their ids."""
    now, past = (connection.ops.quote_name(model._meta.db_table) for model in (Membership, PastMembership))
    which, keys = within("segment_id", segments)
    never = "NULL::timestamptz" if connection.vendor == "postgresql" else "NULL"
    parts = []
    for part in selection.parts():
        whose, ids = within("customer_id", part)
        where = f"WHERE {whose} AND {which}"
        inner = (
            f"SELECT customer_id, segment_id, entered_at, {never} AS left_at FROM {now} {where} UNION ALL "
            f"SELECT customer_id, segment_id, entered_at, left_at FROM {past} {where}"
        )
        parts.append(columns.read(_STAYS, f"FROM ({inner}) s", [*ids, *keys, *ids, *keys]))
    stays = columns.together(_STAYS, parts)
    return (
        stays.with_columns(pl.col("customer_id").replace(selection.absorbed)) if selection.absorbed else stays
    )
