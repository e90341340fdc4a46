"""Training rows from the database: features as of past cutoffs, each with the shop's numbers of its own date."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.conf import settings
from django.db.models import Max, Min

from segmentation import labels, target_settings
from segmentation.features import context, sequences, store
from segmentation.features.compute import compute
from segmentation.features.context_data import ContextData
from segmentation.features.days import midnight
from segmentation.kinds import EventKind
from segmentation.ml.schema import Frame
from segmentation.ml.sequences import Sequences
from segmentation.models import AttributeDefinition, Event, Shop, Target
from segmentation.target_settings import NO, YES
from segmentation.targets import classes, is_behaviour

# The raw label behind the value targets: spend in the horizon, major units.
SPEND = "spend_ahead"
# The raw label behind the time to the next order.
NEXT_ORDER = "next_order_days"
CHUNK = 20_000
LOOK_BACK_DAYS = 365
# A training keeps 20,000 rows a side. More customers than this fill memory for rows that would be dropped again.
MOST_CUSTOMERS, SALT = 60_000, 103
OnChunk = Callable[[int], None]


def training_frame(
    cutoffs: Sequence[date],
    *,
    shop: Shop,
    targets: Sequence[Target],
    on_chunk: OnChunk | None = None,
    sequence_events: int = 0,
) -> Frame:
    """One row a (customer, cutoff): everyone who may be profiled and ordered in the year before the cutoff.

    `targets` are behaviour targets of one horizon. Labels are keyed by target slug, with `spend_ahead` besides.
    Value tiers are cut at the thirds of all rows here; where some rows are for testing, cut them anew with
    `with_tiers`. Of a shop with more than MOST_CUSTOMERS customers a stable sample of that many is read. Features see
    what scoring would have seen on the day of the cutoff (see store.read_events), labels what is known now. on_chunk:
    called with the number of customers read so far. The frame is sorted by cutoff, then customer. sequence_events: how
    many of the newest events before its cutoff go beside each row.
    """
    horizon = _one_horizon(targets)
    dates = sorted(set(cutoffs))
    as_known_now = {cutoff for cutoff in dates if store.is_known_now(cutoff, shop)}
    contexts = {cutoff: context.load(context.for_date(cutoff, shop, fresh=True)) for cutoff in dates}
    parts: dict[date, list[Frame]] = {cutoff: [] for cutoff in dates}
    seen = 0
    for chunk in store.sampled_chunks(CHUNK, most=MOST_CUSTOMERS, salt=SALT):
        history = store.read_events(
            chunk, as_of=dates[-1] + timedelta(days=horizon), shop=shop, known_only=False
        )
        for cutoff in dates:
            known_then = cutoff not in as_known_now
            events = store.read_events(chunk, as_of=cutoff, shop=shop) if known_then else history
            rows = _rows(
                events,
                history,
                contexts[cutoff],
                chunk=chunk,
                shop=shop,
                horizon=horizon,
                newest=sequence_events,
            )
            parts[cutoff].append(rows)
        seen += chunk.last - chunk.first + 1 if isinstance(chunk, store.IdRange) else len(chunk)
        if on_chunk is not None:
            on_chunk(seen)
    frames = [frame for cutoff in dates for frame in parts[cutoff]]
    frame = Frame.concat(frames) if frames else _no_rows()
    return _with_targets(frame, targets)


def present_frame(*, as_of: date, shop: Shop, most: int = MOST_CUSTOMERS) -> Frame:
    """One row a customer who may be profiled and ordered in the year before, as scoring sees them; no labels."""
    data = context.load(context.for_date(as_of, shop, fresh=True))
    frames = []
    for chunk in store.sampled_chunks(CHUNK, most=most, salt=SALT):
        events = store.read_events(chunk, as_of=as_of, shop=shop)
        known = labels.population(events, cutoff=as_of, zone=data.zone)
        customers = profiled(store.read_customers(chunk, as_of=as_of, shop=shop))
        customers = customers.filter(pl.col("customer_id").is_in(known.implode()))
        frames.append(_frame(compute(events, as_of, data, customers=customers), as_of, {}))
    return Frame.concat(frames) if frames else replace(_no_rows(), labels={})


def category_frame(target: Target, *, as_of: date, shop: Shop, sequence_events: int = 0) -> Frame:
    """One row a labelled customer who may be profiled, with features as of `as_of`; needs no events.

    The label column itself is no feature. Classes are those of the target, else those that staff have given;
    labels of any other name are left out.
    """
    if target.attribute is None:
        raise ValueError(f"Target {target.slug} has no label column.")
    data = context.load(context.for_date(as_of, shop, fresh=True))
    column = f"attribute.{target.attribute.slug}"
    number = _numbering(target, as_of)
    data = replace(data, attributes=tuple(a for a in data.attributes if f"attribute.{a[0]}" != column))
    frames = []
    for chunk in store.sampled_chunks(CHUNK, most=MOST_CUSTOMERS, salt=SALT):
        customers = profiled(store.read_customers(chunk, as_of=as_of, shop=shop))
        if column not in customers.columns:
            continue
        known = number(_class_names(customers[column]))
        customers = customers.filter(known.is_not_null())
        events = store.read_events(chunk, as_of=as_of, shop=shop)
        features = compute(events, as_of, data, customers=customers)
        given = _sequences(events, data, customers, newest=sequence_events)
        frames.append(_frame(features, as_of, {target.slug: known.drop_nulls().to_numpy()}, given))
    return Frame.concat(frames) if frames else _no_rows()


def _numbering(target: Target, as_of: date) -> Callable[[pl.Series], pl.Series]:
    """Label names to numbers: the index of a class, or 1.0 for a risk and 0.0 for any other label; null unknown."""
    if target.kind == Target.Kind.RISK:
        risky = list(target_settings.positives(target))
        return lambda names: names.is_in(risky).cast(pl.Float64)
    known = classes(target) or observed_classes(target, as_of=as_of)
    numbers = {name: index for index, name in enumerate(known)}
    return lambda names: names.replace_strict(numbers, default=None, return_dtype=pl.Int64)


def observed_classes(target: Target, *, as_of: date) -> tuple[str, ...]:
    """Names of the classes that staff have given before `as_of`, in the column's own order or by name."""
    attribute = target.attribute
    if attribute is None:
        return ()
    if attribute.kind == AttributeDefinition.Kind.BOOLEAN:
        return NO, YES
    before = midnight(as_of, Shop.get().zone)
    given = attribute.values.filter(valid_from__lt=before, text__isnull=False)
    found = {text for text in given.order_by().values_list("text", flat=True).distinct() if text}
    known = [str(choice) for choice in attribute.choices if str(choice) in found]
    return (*known, *sorted(found - set(known)))


def with_tiers(frame: Frame, cuts: Sequence[float], *, slug: str = "value_tier") -> Frame:
    """The frame with its tier labels cut at `cuts` (see labels.tier_cuts)."""
    return replace(frame, labels={**frame.labels, slug: labels.tiers(frame.labels[SPEND], cuts)})


def default_cutoffs(*, as_of: date, shop: Shop, horizon_days: int) -> tuple[date, ...]:
    """Cutoffs that the orders in the database allow (see labels.choose_cutoffs), and for which behaviour is kept."""
    orders = Event.objects.filter(kind=EventKind.ORDER_PLACED, superseded_at__isnull=True)
    span = orders.aggregate(first=Min("occurred_at"), last=Max("occurred_at"))
    if span["first"] is None:
        return ()
    first, last = (span[name].astimezone(shop.zone).date() for name in ("first", "last"))
    end = min(as_of, last + timedelta(days=1))
    if settings.EVENT_DAYS:
        # Before a cutoff there must be the year that features look back; a pruned year would read as no interest.
        kept = shop.today() - timedelta(days=settings.EVENT_DAYS)
        first = max(first, kept + timedelta(days=LOOK_BACK_DAYS - labels.HISTORY_DAYS))
    return labels.choose_cutoffs(first_day=first, end=end, horizon_days=horizon_days)


def snapshot(frame: Frame) -> dict[str, Any]:
    """Counts and a hash of everything that is learned from, to be stored with a model version."""
    digest = hashlib.sha256(np.ascontiguousarray(frame.ids).tobytes())
    digest.update(frame.cutoffs.astype("datetime64[D]").astype(np.int64).tobytes())
    digest.update("\n".join(frame.x.columns).encode())
    for name in frame.x.columns:
        column = frame.x[name]
        if column.dtype == pl.String:
            digest.update("\x00".join(column.fill_null("\x01").to_list()).encode())
        else:
            digest.update(column.cast(pl.Float64).fill_null(float("nan")).to_numpy().tobytes())
    for name in sorted(frame.labels):
        digest.update(name.encode() + np.ascontiguousarray(frame.labels[name]).tobytes())
    if frame.events is not None:
        frame.events.feed(digest)
    days, counts = np.unique(frame.cutoffs.astype("datetime64[D]"), return_counts=True)
    return {
        "rows": len(frame),
        "customers": len(np.unique(frame.ids)),
        "cutoffs": {str(day): int(count) for day, count in zip(days, counts, strict=True)},
        "sha256": digest.hexdigest(),
    }


def _rows(
    events: pl.DataFrame,
    history: pl.DataFrame,
    data: ContextData,
    *,
    chunk: store.Customers,
    shop: Shop,
    horizon: int,
    newest: int = 0,
) -> Frame:
    """Rows of one cutoff, the date of `data`, for one chunk of customers."""
    known = labels.population(events, cutoff=data.as_of, zone=data.zone)
    customers = profiled(store.read_customers(chunk, as_of=data.as_of, shop=shop))
    customers = customers.filter(pl.col("customer_id").is_in(known.implode()))
    after = labels.label(
        history,
        cutoff=data.as_of,
        zone=data.zone,
        horizon_days=horizon,
        minor_per_major=data.minor_per_major,
        customers=customers["customer_id"],
    )
    found = {name: after[name].to_numpy() for name in (SPEND, NEXT_ORDER)}
    features = compute(events, data.as_of, data, customers=customers)
    return _frame(features, data.as_of, found, _sequences(events, data, customers, newest=newest))


def _sequences(
    events: pl.DataFrame, data: ContextData, customers: pl.DataFrame, *, newest: int
) -> Sequences | None:
    if not newest:
        return None
    return sequences.build(events, data.as_of, data, customers=customers["customer_id"], newest=newest)


def _frame(
    features: pl.DataFrame, cutoff: date, found: dict[str, np.ndarray], given: Sequences | None = None
) -> Frame:
    return Frame(
        ids=features["customer_id"].to_numpy(),
        cutoffs=np.full(features.height, np.datetime64(cutoff, "D")),
        x=features.drop("customer_id"),
        labels=found,
        events=given,
    )


def _no_rows() -> Frame:
    return Frame(
        ids=np.zeros(0, dtype=np.int64),
        cutoffs=np.zeros(0, dtype="datetime64[D]"),
        x=pl.DataFrame(),
        labels={SPEND: np.zeros(0), NEXT_ORDER: np.zeros(0)},
    )


def _with_targets(frame: Frame, targets: Sequence[Target]) -> Frame:
    spend, days = frame.labels[SPEND], frame.labels[NEXT_ORDER]
    found: dict[str, np.ndarray] = {SPEND: spend}
    for target in targets:
        if target.kind == Target.Kind.CHURN:
            found[target.slug] = (spend == 0).astype(np.float64)
        elif target.kind == Target.Kind.FUTURE_VALUE:
            found[target.slug] = spend
        elif target.kind == Target.Kind.NEXT_ORDER:
            found[target.slug] = labels.spans(days, target_settings.next_days(target))
        else:
            found[target.slug] = labels.tiers(spend, tier_cuts(target, spend))
    return replace(frame, labels=found)


def tier_cuts(target: Target, spend: np.ndarray) -> tuple[float, ...]:
    """Borders of a value tier: the amounts that staff gave, or equal parts of these spends."""
    cut = target_settings.tiers(target)
    return cut.borders if cut.by == target_settings.MONEY else labels.tier_cuts(spend, cut.count)


def _one_horizon(targets: Sequence[Target]) -> int:
    horizons = {target.horizon_days for target in targets}
    if len(horizons) != 1 or not all(is_behaviour(target) for target in targets):
        raise ValueError("Rows are shared by behaviour targets of one horizon.")
    return horizons.pop()


def profiled(customers: pl.DataFrame) -> pl.DataFrame:
    """Without those who may not be profiled."""
    allowed = store.read_versions(customers["customer_id"].to_list()).filter("is_profiled")
    return customers.join(allowed, on="customer_id", how="semi", maintain_order="left")


def _class_names(column: pl.Series) -> pl.Series:
    """Labels as class names; yes/no columns give "yes" and "no"."""
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int8).cast(pl.String).replace({"1": YES, "0": NO})
    return column.cast(pl.String)
