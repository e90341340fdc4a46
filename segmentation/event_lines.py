"""Lines of events with what is sold in them, for rules that ask about single products."""

# Names in these statements come from our own models; values are always parameters.

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import polars as pl
from django.db import connection

from segmentation import bulk, columns
from segmentation.batches import batches
from segmentation.columns import Field
from segmentation.features.selection import within
from segmentation.models import EventItem, Product
from segmentation.rules.event_products import LINES

# Events a statement.
PART: Final = 5000
FIELDS: Final = (
    Field("event_id", "int8"),
    Field("product_id", "int8"),
    Field("quantity", "int4"),
    Field("amount_minor", "int8"),
)


def read(events: pl.DataFrame, *, kinds: Sequence[int], products: Collection[str] | None) -> pl.DataFrame:
    """Columns of LINES of these kinds in an events frame. products: the only numbers that are asked for, if said."""
    ids = events.filter(pl.col("kind").is_in(list(kinds)))["event_id"].to_numpy()
    wanted = None if products is None else _products("external_id", sorted(products))
    if not len(ids) or (wanted is not None and wanted.is_empty()):
        return pl.DataFrame(schema=LINES)
    lines = _lines(np.sort(ids).tolist(), None if wanted is None else wanted["product_id"].to_list())
    sold = wanted if wanted is not None else _products("pk", lines["product_id"].unique().to_list())
    found = lines.join(sold, on="product_id", how="left")
    return found.select(pl.col(name).cast(dtype) for name, dtype in LINES.items())


def _lines(events: list[int], products: list[int] | None) -> pl.DataFrame:
    table = connection.ops.quote_name(EventItem._meta.db_table)
    parts = []
    for part in batches(events, PART):
        where, values = within("event_id", part)
        if products is not None:
            only, more = within("product_id", products)
            where, values = f"{where} AND {only}", [*values, *more]
        parts.append(columns.read(FIELDS, f"FROM {table} WHERE {where} ORDER BY id", values))
    return columns.together(FIELDS, parts)


def _products(by: str, keys: Sequence[int] | Sequence[str]) -> pl.DataFrame:
    rows = list(
        bulk.values_in(Product.objects.all(), keys, "pk", "external_id", "name", "category__name", by=by)
    )
    schema = {"product_id": pl.Int64, "product": pl.String, "name": pl.String, "category": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")
