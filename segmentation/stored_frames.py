"""The decision frame of customers from what is stored: the last features and scores, nothing computed anew.

It holds classified customers: survivors of merges with features of the present catalogue. Light enough for a
web process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import polars as pl
from django.db.models import QuerySet

from segmentation import bulk, consents, targets
from segmentation.models import Customer, CustomerFeatures, Score, Shop, Target


def classified() -> QuerySet[CustomerFeatures]:
    """The customers that frames can be read for; `customer_id` is their id."""
    from segmentation.features.catalogue import CATALOGUE_VERSION

    return CustomerFeatures.objects.filter(
        catalogue_version=CATALOGUE_VERSION, customer__merged_into__isnull=True
    )


def chunks(rows: QuerySet[CustomerFeatures] | None = None, *, size: int = 2000) -> Iterator[list[int]]:
    """Ids of classified customers (or of these of them), in order, `size` at a time."""
    ordered = (classified() if rows is None else rows).order_by("customer_id")
    last = 0
    while ids := list(ordered.filter(customer_id__gt=last).values_list("customer_id", flat=True)[:size]):
        yield ids
        last = ids[-1]


def read(ids: Sequence[int], *, as_of: date | None = None) -> pl.DataFrame:
    """Rows of the classified customers among `ids`, by id, with the columns of segmentation/frames.py.

    Attributes are those of `as_of` (default: the end of today), consent is that of now.
    """
    from segmentation.features import store

    shop = Shop.get()
    day = as_of or shop.scoring_as_of()
    features = store.read_features(list(ids)).drop("as_of", "input_version")
    state = _state(features["customer_id"].to_list())
    keys = state["customer_id"].to_list()
    renamed = {name: _feature_name(name) for name in features.columns if name != "customer_id"}
    customers = store.read_customers(keys, as_of=day, shop=shop)
    attributes = [name for name in customers.columns if name.startswith("attribute.")]
    frame = state.join(features.rename(renamed), on="customer_id", how="left", maintain_order="left")
    frame = frame.join(
        customers.select("customer_id", *attributes), on="customer_id", how="left", maintain_order="left"
    )
    frame = frame.with_columns(frame["feature.tenure_days"].alias("customer.tenure_days"))
    return frame.with_columns([*_scores(keys), *consents.answers_of(state["customer_id"])])


def _feature_name(name: str) -> str:
    return name if name.startswith(("feature.", "attribute.")) else f"feature.{name}"


def _state(ids: Sequence[int]) -> pl.DataFrame:
    survivors = Customer.objects.filter(merged_into__isnull=True)
    columns = ("pk", "input_version", "country", "channel", "is_profiled")
    rows = sorted(bulk.values_in(survivors, ids, *columns, by="pk"))
    schema = {
        "customer_id": pl.Int64,
        "input_version": pl.Int64,
        "customer.country": pl.String,
        "customer.channel": pl.String,
        "customer.is_profiled": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _scores(keys: Sequence[int]) -> list[pl.Series]:
    """Columns of every active target, in the order of `keys`."""
    columns: list[pl.Series] = []
    for target in targets.active():
        names = ("customer_id", "value", "median", "label", "probabilities")
        rows = {row[0]: row[1:] for row in bulk.values_in(Score.objects.filter(target=target), keys, *names)}
        columns += _target_columns(target, [rows.get(key) for key in keys])
    return columns


def _target_columns(target: Target, rows: Sequence[tuple[object, ...] | None]) -> list[pl.Series]:
    name = f"score.{target.slug}"
    columns = [pl.Series(name, [row and row[0] for row in rows], dtype=pl.Float64)]
    if target.kind == Target.Kind.FUTURE_VALUE:
        columns.append(pl.Series(f"{name}.median", [row and row[1] for row in rows], dtype=pl.Float64))
    if targets.is_class_target(target):
        labels = [(row and row[2]) or None for row in rows]
        columns.append(pl.Series(f"{name}.label", labels, dtype=pl.String))
        classes = targets.classes(target)
        chances = _probabilities([row[3] if row else None for row in rows], len(classes))
        columns += [
            pl.Series(f"{name}.{cls}", chances[:, position]).fill_nan(None)
            for position, cls in enumerate(classes)
        ]
    return columns


def _probabilities(packed: Sequence[object], count: int) -> np.ndarray:
    """(n, classes) from little-endian float64, NaN where there are none or the classes have changed since."""
    out = np.full((len(packed), count), np.nan)
    for index, content in enumerate(packed):
        if isinstance(content, bytes | memoryview) and len(bytes(content)) == 8 * count:
            out[index] = np.frombuffer(bytes(content), dtype="<f8")
    return out
