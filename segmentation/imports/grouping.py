"""Lines to events: what is summed, what is taken once, and pieces small enough for one transaction."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

FACT = ("key", "kind", "version")
OWNER = ("customer", "email")


def to_events(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events (one row each, sorted by customer and time, numbered `event`) and their lines with that number.

    Sums are of whole numbers, so the order of the lines does not matter.
    """
    events = (
        lines.group_by(*OWNER, *FACT)
        .agg(
            pl.col("at").min(),
            pl.col("amount_minor").sum(),
            pl.col("discount_minor").sum(),
            pl.col("original_minor").sum(),
            pl.col("quantity").sum(),
            pl.len().cast(pl.Int64).alias("line_count"),
            pl.col("currency").first(),
            pl.col("rating").drop_nulls().first(),
            pl.col("text").drop_nulls().first(),
            pl.col("order").min(),
            pl.col("codes").drop_nulls().first(),
            pl.col("channel").drop_nulls().first(),
            pl.col("country").drop_nulls().last(),
        )
        .sort(*OWNER, "at", *FACT, nulls_last=True)
        .with_row_index("event")
        .with_columns(pl.col("event").cast(pl.Int64))
    )
    numbered = lines.join(events.select("event", *OWNER, *FACT), on=[*OWNER, *FACT], nulls_equal=True)
    return events, numbered.select(
        "event", "__line__", "product", "quantity", "amount_minor", "discount_minor", "original_minor"
    ).sort("event", "__line__")


def pieces(
    events: pl.DataFrame, lines: pl.DataFrame, *, lines_a_piece: int
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Whole events with their lines, about `lines_a_piece` lines at a time."""
    number = (pl.col("line_count").cum_sum() - pl.col("line_count")) // lines_a_piece
    for piece in events.with_columns(number.alias("piece")).partition_by(
        "piece", maintain_order=True, include_key=False
    ):
        first, last = piece["event"][0], piece["event"][-1]
        yield piece, lines.filter(pl.col("event").is_between(first, last))
