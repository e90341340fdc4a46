"""What of a file is news: facts already stored are left alone, newer or longer versions supersede them.

A file with a version column: the higher version of a fact replaces the lower. A file without: lines of a
stored event that are not stored yet are added to it as a new version, so two overlapping or adjoining files
give what one file would. Equal lines are told apart by their occurrence: the second of two equal lines is
known only when two are stored.
"""

# Names in the statement come from our own model; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from django.db import connection

from segmentation.bulk import values_in
from segmentation.models import Event, EventItem, EventSource

FACT = ["key", "kind"]
_KNOWN: dict[str, pl.DataType] = {
    "id": pl.Int64(), "key": pl.String(), "kind": pl.Int64(), "known_version": pl.Int64(), "known_customer": pl.Int64(),
    "is_superseded": pl.Boolean(), "known_at": pl.Datetime("us", "UTC"), "known_amount": pl.Int64(),
    "known_discount": pl.Int64(), "known_original": pl.Int64(), "known_quantity": pl.Int64(), "known_lines": pl.Int64(),
    "known_mask": pl.Int64(),
}  # fmt: skip
_STORED = (
    "id", "source_key", "kind", "source_version", "customer_id", "superseded_at", "occurred_at", "amount_minor",
    "discount_minor", "original_amount_minor", "quantity", "line_count", "category_mask",
)  # fmt: skip
_LINE = ["event", "product_id", "quantity", "amount_minor"]


@dataclass(frozen=True)
class News:
    """Events and lines to store, ids of rows they replace, events of other customers, and lines already stored.

    `grown`: number of an event → id of the stored event that it continues.
    """

    events: pl.DataFrame
    lines: pl.DataFrame
    replaced: list[int]
    grown: dict[int, int]
    foreign: pl.DataFrame
    repeated_lines: int


def known_events(source: EventSource, keys: list[str]) -> pl.DataFrame:
    """The stored versions of these facts. Keys in order walk the index once, from left to right."""
    look_up = _look_up if connection.vendor == "postgresql" else _look_up_on_sqlite
    return pl.DataFrame(list(look_up(source, sorted(keys))), schema=_KNOWN, orient="row")


def _look_up(source: EventSource, keys: list[str]) -> Iterable[tuple[Any, ...]]:
    """One index lookup a key, whatever the planner believes of a table that grew since it was last analysed."""
    table = connection.ops.quote_name(Event._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(_STORED)} FROM unnest(%s::text[]) AS wanted (key) CROSS JOIN LATERAL "
            f"(SELECT * FROM {table} WHERE source_id = %s AND source_key = wanted.key OFFSET 0) AS stored",
            [keys, source.pk],
        )
        return [(*row[:5], row[5] is not None, *row[6:]) for row in cursor.fetchall()]


def _look_up_on_sqlite(source: EventSource, keys: list[str]) -> Iterable[tuple[Any, ...]]:
    rows = values_in(Event.objects.filter(source=source), keys, *_STORED, by="source_key")
    return ((*row[:5], row[5] is not None, *row[6:]) for row in rows)


def reconcile(events: pl.DataFrame, lines: pl.DataFrame, *, source: EventSource, versioned: bool) -> News:
    """`events` have customer_id and category_mask, `lines` product_id. Needs the transaction that stores them."""
    known = known_events(source, events["key"].unique().to_list())
    events, strangers = _own(events, known)
    if versioned:
        news, replaced = _newer(events, known)
    elif known.is_empty():
        news, replaced = events.with_columns(is_old=pl.lit(False)), []
    else:
        return _longer(events, lines, known, strangers)
    kept = lines.join(news.select("event"), on="event", how="semi")
    foreign_lines = lines.join(strangers.select("event"), on="event", how="semi")
    return News(news, kept, replaced, {}, strangers, len(lines) - len(kept) - len(foreign_lines))


def _own(events: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Apart: events whose id another customer has already, stored or earlier in the same piece."""
    owners = pl.concat(
        [
            known.select(*FACT, pl.col("known_customer").alias("owner")),
            events.select(*FACT, pl.col("customer_id").alias("owner")),
        ]
    ).unique(FACT, keep="first", maintain_order=True)
    owned = events.join(owners, on=FACT, how="left", maintain_order="left")
    is_own = pl.col("owner") == pl.col("customer_id")
    return owned.filter(is_own).drop("owner"), owned.filter(~is_own).drop("owner")


def _newer(events: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, list[int]]:
    versions = pl.concat(
        [
            known.select(*FACT, pl.col("known_version").alias("version")),
            events.select(*FACT, "version"),
        ]
    )
    newest = versions.group_by(FACT).agg(pl.col("version").max().alias("newest"))
    stored = known.select(*FACT, pl.col("known_version").alias("version"))
    news = events.join(stored, on=[*FACT, "version"], how="anti").join(newest, on=FACT, how="left")
    replaced = known.join(newest, on=FACT).filter(
        (pl.col("known_version") < pl.col("newest")) & ~pl.col("is_superseded")
    )
    is_old = (pl.col("version") < pl.col("newest")).alias("is_old")
    return news.with_columns(is_old).drop("newest"), replaced["id"].to_list()


def _longer(events: pl.DataFrame, lines: pl.DataFrame, known: pl.DataFrame, strangers: pl.DataFrame) -> News:
    """New events as they are; known ones only where the file has lines that are not stored."""
    current = known.sort("known_version").unique(FACT, keep="last")
    matched = events.join(current, on=FACT, how="left", maintain_order="left")
    fresh = matched.filter(pl.col("id").is_null()).select(events.columns)
    old = matched.filter(pl.col("id").is_not_null())
    own_lines = lines.join(strangers.select("event"), on="event", how="anti")
    stored = _stored_lines(old)
    extra = _extra(own_lines.join(old.select("event"), on="event", how="semi"), stored, old)
    continued = old.join(extra.select("event").unique(), on="event")
    grown = _grown(continued, extra).select(events.columns)
    fresh_lines = own_lines.join(fresh.select("event"), on="event", how="semi")
    carried = stored.join(grown.select("event"), on="event", how="semi").drop("id")
    return News(
        events=pl.concat([fresh, grown]).with_columns(is_old=pl.lit(False)),
        lines=pl.concat([part.select(_LINE) for part in (fresh_lines, carried, extra)]),
        replaced=continued["id"].to_list(),
        grown=dict(continued.select("event", "id").iter_rows()),
        foreign=strangers,
        repeated_lines=len(own_lines) - len(fresh_lines) - len(extra),
    )


def _stored_lines(old: pl.DataFrame) -> pl.DataFrame:
    rows = values_in(
        EventItem.objects.all(),
        old["id"].to_list(),
        "event_id",
        "product_id",
        "quantity",
        "amount_minor",
        by="event_id",
    )
    schema = {"id": pl.Int64, "product_id": pl.Int64, "quantity": pl.Int64, "amount_minor": pl.Int64}
    return pl.DataFrame(list(rows), schema=schema, orient="row").join(old.select("id", "event"), on="id")


def _extra(lines: pl.DataFrame, stored: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """The lines whose occurrence is not stored. Lines without a product are not stored one by one: they count."""
    same = pl.int_range(pl.len()).over(_LINE).alias("occurrence")
    named = lines.filter(pl.col("product_id").is_not_null()).with_columns(same)
    new_named = named.join(stored.with_columns(same), on=[*_LINE, "occurrence"], how="anti")
    counts = stored.group_by("event").agg(pl.len().cast(pl.Int64).alias("named"))
    nameless_known = old.join(counts, on="event", how="left").select(
        "event", (pl.col("known_lines") - pl.col("named").fill_null(0)).alias("nameless")
    )
    nameless = (
        lines.filter(pl.col("product_id").is_null())
        .with_columns(pl.int_range(pl.len()).over("event").alias("occurrence"))
        .join(nameless_known, on="event")
        .filter(pl.col("occurrence") >= pl.col("nameless"))
        .drop("nameless")
    )
    return pl.concat([new_named, nameless.select(new_named.columns)])


def _grown(old: pl.DataFrame, extra: pl.DataFrame) -> pl.DataFrame:
    """The stored events with the extra lines added, as the next version."""
    sums = extra.group_by("event").agg(
        pl.col("amount_minor").sum().alias("more_amount"),
        pl.col("discount_minor").sum().alias("more_discount"),
        pl.col("original_minor").sum().alias("more_original"),
        pl.col("quantity").sum().alias("more_quantity"),
        pl.len().cast(pl.Int64).alias("more_lines"),
    )
    return old.join(sums, on="event").with_columns(
        pl.min_horizontal("at", "known_at").alias("at"),
        (pl.col("known_version") + 1).alias("version"),
        (pl.col("known_amount") + pl.col("more_amount")).alias("amount_minor"),
        (pl.col("known_discount") + pl.col("more_discount")).alias("discount_minor"),
        (pl.col("known_original") + pl.col("more_original")).alias("original_minor"),
        (pl.col("known_quantity") + pl.col("more_quantity")).alias("quantity"),
        (pl.col("known_lines") + pl.col("more_lines")).alias("line_count"),
        (pl.col("known_mask") | pl.col("category_mask")).alias("category_mask"),
    )
