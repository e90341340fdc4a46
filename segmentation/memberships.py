"""Who is in which segment: evaluated on a decision frame, stored as the difference, with a history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

import numpy as np
import polars as pl
from django.db import connection, transaction
from django.db.models import Count
from django.db.models.functions import Now

from segmentation import bulk, rule_columns, segments, stored_frames
from segmentation.locks import hold, lock_customers
from segmentation.models import Membership, MembershipCause, PastMembership, Segment, Shop
from segmentation.news import News, OnDecided
from segmentation.rules import compile as rules
from segmentation.segments import Definition
from segmentation.stages import stage

# Frames up to this size bring member counts up to date at once. Larger ones belong to runs that count at their end,
# so that workers in parallel do not wait for each other on a segment's row.
COUNTED_AT_ONCE: Final = 500
REFRESH_CHUNK: Final = 2000
_PAIR: Final = {"segment_id": pl.Int64, "customer_id": pl.Int64}
_SINCE: Final[dict[str, type[pl.DataType] | pl.DataType]] = {
    **_PAIR,
    "entered_at": pl.Datetime("us", "UTC"),
    "entered_by": pl.Int64,
}


@dataclass(frozen=True)
class MembershipReport:
    """Customers that entered and left, by segment slug; `customer_ids` of one published frame says who they are."""

    entered: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    customer_ids: frozenset[int] = frozenset()

    @property
    def changes(self) -> int:
        return sum(self.entered.values()) + sum(self.left.values())


@stage("rules")
def evaluate(
    frame: pl.DataFrame, segments_: Sequence[Definition] | None = None, *, today: date | None = None
) -> pl.DataFrame:
    """Add a Boolean column segment.<slug> for every active segment (or those given, in their order).

    Who is not profiled is in no segment that uses predictions, whatever its rule says of missing values.
    """
    definitions = segments.definitions() if segments_ is None else segments_
    day = today or Shop.get().today()
    for level in _levels(definitions):
        columns = set(frame.columns)
        # Beside a column of the frame a literal is spread over the rows.
        found = frame.select(
            frame.columns[0],
            *(_expression(definition, columns, day).alias(definition.column) for definition in level),
        )
        frame = frame.hstack(found.get_columns()[1:])
    return frame


@stage("memberships")
def publish(frame: pl.DataFrame, *, cause: int) -> MembershipReport:
    """Store who is in the frame's segment columns, for the frame's customers; only the difference is written.

    Needs a transaction that holds the customers' rows, so that two writers never record one change twice.
    """
    ids = frame["customer_id"].to_list()
    slugs = [name.removeprefix("segment.") for name in frame.columns if name.startswith("segment.")]
    by_slug = dict(hold(Segment.objects.filter(slug__in=slugs, is_active=True).values_list("slug", "pk")))
    wanted = _wanted(frame, by_slug)
    stored = _stored(ids, list(by_slug.values()))
    if wanted.equals(stored):
        return MembershipReport()
    entered = wanted.join(stored, on=list(_PAIR), how="anti")
    left = stored.join(wanted, on=list(_PAIR), how="anti")
    _write(entered, left, cause=cause)
    moved = frozenset(entered["customer_id"]) | frozenset(left["customer_id"])
    report = MembershipReport(_by_slug(entered, by_slug), _by_slug(left, by_slug), moved)
    if len(ids) <= COUNTED_AT_ONCE:
        _adjust_counts(report, by_slug)
    return report


def refresh_segment(segment_id: int, *, on_decided: OnDecided | None = None) -> MembershipReport:
    """Work out the members of a segment, and of those that refer to it, from stored features and scores.

    on_decided: told who entered or left, in the transaction that writes it.
    """
    segment = Segment.objects.filter(pk=segment_id).first()
    if segment is None:
        return MembershipReport()
    if not segment.is_active or segment.version_id is None:
        _empty(segment, on_decided)
        return MembershipReport()
    definitions = segments.definitions()
    touched = segments.dependents(segment.slug, definitions)
    needed = segments.definitions(touched)
    entered: dict[str, int] = {}
    left: dict[str, int] = {}
    for ids in stored_frames.chunks(size=REFRESH_CHUNK):
        report = _refresh_chunk(ids, needed, touched, on_decided)
        for total, part in ((entered, report.entered), (left, report.left)):
            for slug, count in part.items():
                total[slug] = total.get(slug, 0) + count
    recount(touched)
    return MembershipReport(entered, left)


def leave_all(customer_ids: Sequence[int], *, cause: int) -> None:
    """These customers leave every segment (they were merged into another). Needs a transaction."""
    rows = list(bulk.values_in(Membership.objects.all(), customer_ids, "segment_id", "customer_id"))
    left = pl.DataFrame(rows, schema=_PAIR, orient="row")
    segments_ = Segment.objects.filter(pk__in=left["segment_id"].unique().to_list())
    by_slug = dict(hold(segments_.values_list("slug", "pk")))
    _write(left.clear(), left, cause=cause)
    _adjust_counts(MembershipReport({}, _by_slug(left, by_slug)), by_slug)


def stale_segment_ids(*, older_than: timedelta) -> list[int]:
    """Segments whose rule or switch changed at least this long ago without their members having been worked out."""
    stale = Segment.objects.filter(refreshed_at__isnull=True, version__created_at__lt=Now() - older_than)
    return list(stale.order_by("pk").values_list("pk", flat=True))


def recount(slugs: Sequence[str] | frozenset[str] | None = None) -> None:
    """Count the members of segments (all by default) and note that they are fresh."""
    wanted = Segment.objects.all() if slugs is None else Segment.objects.filter(slug__in=slugs)
    keys = sorted(wanted.values_list("pk", flat=True))
    counted = dict(
        Membership.objects.filter(segment__in=keys)
        .order_by()
        .values_list("segment")
        .annotate(n=Count("customer"))
    )
    for key in keys:
        Segment.objects.filter(pk=key).update(member_count=counted.get(key, 0), refreshed_at=Now())


def _levels(definitions: Sequence[Definition]) -> Iterator[list[Definition]]:
    """Groups that can be evaluated in one go: each refers only to earlier groups."""
    done: set[str] = set()
    given = {definition.slug for definition in definitions}
    waiting = list(definitions)
    while waiting:
        level = [definition for definition in waiting if definition.depends_on & given <= done]
        yield level
        done |= {definition.slug for definition in level}
        waiting = [definition for definition in waiting if definition.slug not in done]


def _expression(definition: Definition, columns: set[str], today: date) -> pl.Expr:
    fits = rules.expression(definition.node, today=today, columns=columns)
    if definition.predicts and "customer.is_profiled" in columns:
        fits = fits & pl.col("customer.is_profiled").fill_null(False)
    return fits


def _wanted(frame: pl.DataFrame, by_slug: Mapping[str, int]) -> pl.DataFrame:
    """Who fits which segment, in the order of segments, then of the frame."""
    slugs = sorted(by_slug, key=lambda slug: by_slug[slug])
    # All at once: a call for each segment would cost more than one customer's features.
    columns = frame.select(pl.col([f"segment.{slug}" for slug in slugs]).fill_null(False))
    segment, person = np.nonzero(columns.to_numpy().reshape(frame.height, len(slugs)).T.astype(bool))
    keys = np.array([by_slug[slug] for slug in slugs], dtype=np.int64)
    return pl.DataFrame({"segment_id": keys[segment], "customer_id": frame["customer_id"].to_numpy()[person]})


def _stored(ids: Sequence[int], segment_ids: Sequence[int]) -> pl.DataFrame:
    """In the same order where the frame's customers are in theirs."""
    wanted = set(segment_ids)
    rows = bulk.values_in(Membership.objects.all(), ids, "segment_id", "customer_id")
    return pl.DataFrame(sorted(row for row in rows if row[0] in wanted), schema=_PAIR, orient="row")


def _write(entered: pl.DataFrame, left: pl.DataFrame, *, cause: int) -> None:
    """Write the difference to what is stored. Needs the locks of `publish`: what is stored is what it was."""
    if not entered.is_empty():
        came = entered.with_columns(pl.lit(int(cause), pl.Int64).alias("entered_by"))
        bulk.insert(Membership, came.columns, came)
    if left.is_empty():
        return
    over = _since(left).with_columns(pl.lit(int(cause), pl.Int64).alias("left_by"))
    bulk.insert(PastMembership, over.columns, over)
    bulk.delete(Membership, list(_PAIR), left)


def _since(pairs: pl.DataFrame) -> pl.DataFrame:
    """The stored memberships of these pairs: since when, and what brought them in."""
    rows = list(bulk.values_in(Membership.objects.all(), pairs["customer_id"].unique().to_list(), *_SINCE))
    found = pl.DataFrame(rows, schema=_SINCE, orient="row")
    return found.join(pairs, on=list(_PAIR), how="semi")


def _by_slug(rows: pl.DataFrame, by_slug: Mapping[str, int]) -> dict[str, int]:
    counts = dict(rows.group_by("segment_id").len().rows())
    return {slug: counts[key] for slug, key in by_slug.items() if key in counts}


def _adjust_counts(report: MembershipReport, by_slug: Mapping[str, int]) -> None:
    changes = {
        by_slug[slug]: report.entered.get(slug, 0) - report.left.get(slug, 0)
        for slug in report.entered.keys() | report.left.keys()
    }
    # Always by id, so that two writers wait for each other instead of locking up.
    table = connection.ops.quote_name(Segment._meta.db_table)
    counted = f"UPDATE {table} SET member_count = member_count + %s WHERE id = %s AND member_count >= %s"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.executemany(counted, [(more, key, -more) for key, more in sorted(changes.items())])


def _empty(segment: Segment, on_decided: OnDecided | None) -> None:
    """A resting segment has no members; that they left is part of the history."""
    while True:
        with transaction.atomic():
            hold(Segment.objects.filter(pk=segment.pk).values_list("pk"))
            rows = Membership.objects.filter(segment=segment)
            lock_customers(rows.order_by("customer_id").values_list("customer_id", flat=True)[:REFRESH_CHUNK])
            # Read again under the lock: another worker may have emptied them, and nobody leaves twice.
            ids = list(rows.order_by("customer_id").values_list("customer_id", flat=True)[:REFRESH_CHUNK])
            if not ids:
                break
            left = pl.DataFrame({"segment_id": [segment.pk] * len(ids), "customer_id": ids}, schema=_PAIR)
            _write(left.clear(), left, cause=MembershipCause.EDIT)
            _tell(ids, on_decided)
    recount([segment.slug])


def _refresh_chunk(
    ids: Sequence[int],
    definitions: Sequence[Definition],
    touched: frozenset[str],
    on_decided: OnDecided | None,
) -> MembershipReport:
    with transaction.atomic():
        lock_customers(ids)
        wanted = rule_columns.of(definition.node for definition in definitions)
        frame = evaluate(stored_frames.read(ids, wanted=wanted), definitions)
        keep = ["customer_id", *(d.column for d in definitions if d.slug in touched)]
        report = publish(frame.select(keep), cause=MembershipCause.EDIT)
        _tell(report.customer_ids, on_decided)
    return report


def _tell(customer_ids: Iterable[int], on_decided: OnDecided | None) -> None:
    news = [News(key) for key in sorted(customer_ids)]
    if on_decided is not None and news:
        on_decided(news)
