"""The parts of the floor by hand: reading, predicting and writing without anything in between."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

UTC = pl.Datetime("us", "UTC")
EVENTS = (
    "customer_id", "kind", "occurred_at", "amount_minor", "discount_minor", "quantity", "line_count",
    "category_mask", "rating",
)  # fmt: skip


class Source(Protocol):
    def events(self, first: int, last: int, *, before: date) -> pl.DataFrame: ...
    def customers(self, first: int, last: int, shop: Shop) -> pl.DataFrame: ...
    def consents(self, first: int, last: int) -> object: ...
    def load(self, path: Path) -> Any: ...
    def write(self, table: str, payload: Any) -> None: ...
    def commit(self) -> None: ...
    def execute(self, sql: str) -> None: ...


@dataclass(frozen=True)
class Shop:
    """What a run was pinned to, loaded once."""

    as_of: date
    context: Any
    definitions: Mapping[int, str]
    networks: Sequence[Any]
    boosters: Sequence[Any]
    independent: Sequence[pl.Expr]
    dependent: Sequence[pl.Expr]

    @classmethod
    def of(cls, run_id: int) -> Shop:
        from segmentation import segments, serving
        from segmentation.features import context
        from segmentation.models import AttributeDefinition, ModelVersion, ScoringRun
        from segmentation.rules import compile as rules

        run = ScoringRun.objects.select_related("context").get(pk=run_id)
        assert run.context is not None
        versions = ModelVersion.objects.filter(pk__in=set(run.pinned_versions.values()))
        leaves = [leaf for version in versions for leaf in _leaves(serving.predictor(version).estimator)]
        definitions = segments.definitions()
        by_level = [
            [
                rules.expression(d.node, today=run.as_of).alias(d.column)
                for d in definitions
                if bool(d.depends_on) == depends
            ]
            for depends in (False, True)
        ]
        return cls(
            as_of=run.as_of,
            context=context.load(run.context),
            definitions=dict(AttributeDefinition.objects.values_list("pk", "slug")),
            networks=[leaf for leaf in leaves if hasattr(leaf, "network_")],
            boosters=[leaf for leaf in leaves if hasattr(leaf, "boosters_")],
            independent=by_level[0],
            dependent=by_level[1],
        )

    def predict(self, features: pl.DataFrame) -> np.ndarray:
        """(n,) a probability of each row; of networks the bare module, of boosters the bare predictor."""
        import torch

        from segmentation.ml.schema import Frame
        from segmentation.stages import stage

        ids = features["customer_id"].to_numpy()
        frame = Frame(
            ids=ids, cutoffs=np.zeros(len(ids), dtype="datetime64[D]"), x=features.drop("customer_id")
        )
        found = np.full(len(ids), 0.5)
        for network in self.networks:
            with stage("network"), torch.inference_mode():
                encoded = network.preprocessor_.transform(frame.x)
                pairs = zip(_batches(encoded.numeric), _batches(encoded.categorical), strict=True)
                outputs = torch.cat([network.network_(*pair) for pair in pairs])
                found = torch.sigmoid(outputs.flatten(1)[:, 0]).numpy()
        for estimator in self.boosters:
            with stage("trees"):
                x = estimator.inputs(frame)
                for booster in estimator.boosters_.values():
                    booster.predict(x, num_threads=1)
        return found


def population(features: pl.DataFrame) -> pl.Series:
    """Who is scored: customers with an order that is not too old."""
    from segmentation.labels import POPULATION_DAYS

    return features["recency_days"].is_not_null() & (features["recency_days"].fill_null(0) <= POPULATION_DAYS)


def rules_frame(features: pl.DataFrame, rows: pl.Series, scores: np.ndarray) -> pl.DataFrame:
    """Features and scores under the names that rules use."""
    values = np.full(features.height, np.nan)
    values[rows.to_numpy()] = scores
    churn = pl.Series("score.churn", values).fill_nan(None)
    label = pl.select(pl.when(churn < 0.2).then(pl.lit("high")).otherwise(pl.lit("low"))).to_series()
    named = features.rename({n: f"feature.{n}" for n in features.columns if not n.startswith("attribute.")})
    return named.with_columns(churn, label.alias("score.value_tier.label"))


def source() -> Source:
    from django.db import connection

    connection.ensure_connection()
    return (
        _Postgres(connection.connection)
        if connection.vendor == "postgresql"
        else _Sqlite(connection.connection)
    )


class _Postgres:
    def __init__(self, link: Any) -> None:
        self.link = link
        for other_plan in ("enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"):
            link.execute(f"SET {other_plan} = off")
        link.autocommit = False

    def events(self, first: int, last: int, *, before: date) -> pl.DataFrame:
        from segmentation import columns
        from segmentation.features import event_rows

        source = (
            "FROM segmentation_event WHERE customer_id BETWEEN %s AND %s AND occurred_at < %s"
            " AND superseded_at IS NULL ORDER BY customer_id, occurred_at, id"
        )
        return _events(columns.read(event_rows.FIELDS, source, [first, last, before]))

    def customers(self, first: int, last: int, shop: Shop) -> pl.DataFrame:
        people = self._csv(
            f"SELECT id AS customer_id, country, channel, signed_up_at AT TIME ZONE 'UTC' AS signed_up_at"
            f" FROM segmentation_customer WHERE id BETWEEN {first} AND {last} AND merged_into_id IS NULL ORDER BY id",
            {"customer_id": pl.Int64, "country": pl.String, "channel": pl.String, "signed_up_at": pl.String},
        )
        values = self._csv(
            "SELECT customer_id, definition_id, number, text FROM segmentation_attributevalue"
            f" WHERE customer_id BETWEEN {first} AND {last} ORDER BY valid_from",
            {"customer_id": pl.Int64, "definition_id": pl.Int64, "number": pl.Float64, "text": pl.String},
        )
        return _customers(people, values, shop)

    def consents(self, first: int, last: int) -> object:
        return self._csv(
            "SELECT customer_id, purpose, status FROM segmentation_consent"
            f" WHERE customer_id BETWEEN {first} AND {last} ORDER BY decided_at",
            {"customer_id": pl.Int64, "purpose": pl.String, "status": pl.String},
        )

    def load(self, path: Path) -> Any:
        return path.read_bytes()

    def write(self, table: str, payload: Any) -> None:
        with self.link.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
            copy.write(payload)

    def commit(self) -> None:
        self.link.commit()

    def execute(self, sql: str) -> None:
        self.link.execute("SET maintenance_work_mem = '256MB'")
        self.link.execute(sql)
        self.link.commit()

    def _copied(self, sql: str) -> bytes:
        with self.link.cursor() as cursor, cursor.copy(sql) as copy:
            return b"".join(copy)

    def _csv(self, query: str, schema: Mapping[str, Any]) -> pl.DataFrame:
        data = self._copied(f"COPY ({query}) TO STDOUT (FORMAT csv)")
        return (
            pl.read_csv(io.BytesIO(data), has_header=False, schema=dict(schema))
            if data
            else pl.DataFrame(schema=schema)
        )


def cover_events() -> None:
    """The index that answers the floor's read alone, sorted; kept where the product has one like it."""
    from django.db import connection

    from segmentation.models import Event

    table = Event._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [table])
        else:
            cursor.execute("SELECT sql FROM sqlite_master WHERE tbl_name = %s AND type = 'index'", [table])
        if any("category_mask" in (row[0] or "") for row in cursor.fetchall()):
            return
        rest = [name for name in EVENTS if name not in {"customer_id", "occurred_at"}]
        key = "customer_id, occurred_at, id"
        if connection.vendor == "postgresql":
            cursor.execute(
                f"CREATE INDEX floor_events ON {table} ({key}) INCLUDE (superseded_at, {', '.join(rest)})"
            )
            cursor.execute(f"VACUUM ANALYZE {table}")
        else:
            cursor.execute(f"CREATE INDEX floor_events ON {table} ({key}, superseded_at, {', '.join(rest)})")


def uncover_events() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX IF EXISTS floor_events")


class _Sqlite:
    def __init__(self, link: sqlite3.Connection) -> None:
        self.link = link

    def events(self, first: int, last: int, *, before: date) -> pl.DataFrame:
        # An expression has no declared type, so the driver leaves the time as text.
        columns = ", ".join("occurred_at || ''" if n == "occurred_at" else n for n in EVENTS)
        rows = self.link.execute(
            f"SELECT {columns} FROM segmentation_event WHERE customer_id BETWEEN ? AND ? AND occurred_at < ?"
            " AND superseded_at IS NULL ORDER BY customer_id, occurred_at, id",
            [first, last, before.isoformat()],
        ).fetchall()
        kinds = {
            n: pl.String if n == "occurred_at" else pl.Float64 if n == "rating" else pl.Int64 for n in EVENTS
        }
        frame = pl.DataFrame(rows, schema=kinds, orient="row")
        time = pl.col("occurred_at").str.slice(0, 19).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")
        return _events(frame.with_columns(time))

    def customers(self, first: int, last: int, shop: Shop) -> pl.DataFrame:
        people = self.link.execute(
            "SELECT id, country, channel, signed_up_at || '' FROM segmentation_customer"
            " WHERE id BETWEEN ? AND ? AND merged_into_id IS NULL ORDER BY id",
            [first, last],
        ).fetchall()
        values = self.link.execute(
            "SELECT customer_id, definition_id, number, text FROM segmentation_attributevalue"
            " WHERE customer_id BETWEEN ? AND ? ORDER BY valid_from",
            [first, last],
        ).fetchall()
        named = {
            "customer_id": pl.Int64,
            "country": pl.String,
            "channel": pl.String,
            "signed_up_at": pl.String,
        }
        valued = {"customer_id": pl.Int64, "definition_id": pl.Int64, "number": pl.Float64, "text": pl.String}
        return _customers(
            pl.DataFrame(people, schema=named, orient="row"),
            pl.DataFrame(values, schema=valued, orient="row"),
            shop,
        )

    def consents(self, first: int, last: int) -> object:
        return self.link.execute(
            "SELECT customer_id, purpose, status FROM segmentation_consent"
            " WHERE customer_id BETWEEN ? AND ? ORDER BY decided_at",
            [first, last],
        ).fetchall()

    def load(self, path: Path) -> Any:
        with closing(sqlite3.connect(path)) as link:
            return link.execute("SELECT * FROM spooled ORDER BY rowid").fetchall()

    def write(self, table: str, payload: Any) -> None:
        if not self.link.in_transaction:
            self.link.execute("BEGIN IMMEDIATE")
        if payload:
            self.link.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(payload[0]))})", payload)

    def commit(self) -> None:
        self.link.commit()

    def execute(self, sql: str) -> None:
        self.link.execute(sql)


def _events(frame: pl.DataFrame) -> pl.DataFrame:
    from segmentation.features.frames import EVENTS as WANTED

    return frame.with_columns(
        pl.col("occurred_at").dt.replace_time_zone("UTC"),
        pl.col("rating").fill_nan(None),
        pl.lit(None, dtype=pl.Float64).alias("sentiment"),
        pl.lit(0, dtype=pl.Int16).alias("topic"),
        pl.lit(0, dtype=pl.Int16).alias("repeats"),
        pl.lit(0, dtype=pl.Int64).alias("order_hash"),
        pl.lit(0, dtype=pl.Int64).alias("event_id"),
    ).select(pl.col(name).cast(kind) for name, kind in WANTED.items())


def _customers(people: pl.DataFrame, values: pl.DataFrame, shop: Shop) -> pl.DataFrame:
    signed_up = pl.col("signed_up_at").str.slice(0, 19).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")
    frame = people.with_columns(
        signed_up.dt.replace_time_zone("UTC"), pl.col("country", "channel").fill_null("")
    )
    kinds = dict(shop.context.attributes)
    for key, slug in shop.definitions.items():
        if slug in kinds:
            column = "text" if kinds[slug] == "choice" else "number"
            newest = values.filter(pl.col("definition_id") == key).unique("customer_id", keep="last")
            chosen = newest.select("customer_id", pl.col(column).alias(f"attribute.{slug}"))
            frame = frame.join(chosen, on="customer_id", how="left", maintain_order="left")
    return frame


def _leaves(estimator: Any) -> Iterator[Any]:
    if hasattr(estimator, "members"):
        for member in estimator.members:
            yield from _leaves(member)
    elif hasattr(estimator, "estimator"):
        yield from _leaves(estimator.estimator)
    else:
        yield estimator


def _batches(values: np.ndarray) -> list[Any]:
    import torch

    from segmentation.ml.batching import BATCH

    return [torch.from_numpy(values[start : start + BATCH]) for start in range(0, len(values), BATCH)]


def spool(path: Path, rows: Sequence[tuple[Any, ...]], *, width: int) -> None:
    """Rows in SQLite's own types in a file of their own, for `load` to read again."""
    names = ", ".join(f"c{n}" for n in range(width))
    with closing(sqlite3.connect(path)) as link, link:
        link.execute(f"CREATE TABLE spooled ({names})")
        link.executemany(f"INSERT INTO spooled VALUES ({', '.join('?' * width)})", rows)
