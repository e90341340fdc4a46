"""Lines on disk, sorted into parts by customer: all lines of a customer meet, in any order of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

from segmentation.imports.tables import LINE

# A part is loaded into memory whole; this many lines take less than 100 MB at work.
LINES_A_PART = 100_000
MOST_PARTS = 256


class Staging:
    """Arrow streams in a temporary folder; memory does not grow with the file (a list of products and customers aside)."""

    def __init__(self, folder: Path, *, estimated_rows: int) -> None:
        self.parts = min(max(-(-estimated_rows // LINES_A_PART), 1), MOST_PARTS)
        self.lines = 0
        self._customers: pl.DataFrame | None = None
        self._paths = [folder / f"part-{number}.arrows" for number in range(self.parts)]
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}
        self._products: pl.DataFrame | None = None

    def add(self, lines: pl.DataFrame) -> None:
        """Take normal lines (segmentation.imports.normalise.SCHEMA)."""
        if lines.is_empty():
            return
        self.lines += len(lines)
        self._remember_products(lines)
        self._remember_customers(lines)
        part = pl.coalesce("customer", "email").hash() % self.parts
        for (number,), rows in lines.with_columns(part.alias("part")).group_by("part"):
            self._write(int(str(number)), rows.drop("part"))

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    @property
    def customers(self) -> int:
        """How many customers the lines are about."""
        return 0 if self._customers is None else len(self._customers)

    def products(self) -> pl.DataFrame:
        """product, product_name, category, first_at: one row a product."""
        empty = {"product": pl.String, "product_name": pl.String, "category": pl.String}
        if self._products is None:
            return pl.DataFrame(schema={**empty, "first_at": pl.Datetime("us", "UTC")})
        return self._products

    def read(self) -> Iterator[pl.DataFrame]:
        """The parts, each with its lines in the order of the file."""
        for number in sorted(self._writers):
            with pa.OSFile(str(self._paths[number])) as file, pa.ipc.open_stream(file) as stream:
                yield pl.DataFrame(pl.from_arrow(stream.read_all())).sort(LINE)
            self._paths[number].unlink()

    def _write(self, number: int, rows: pl.DataFrame) -> None:
        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if number not in self._writers:
            self._writers[number] = pa.ipc.new_stream(str(self._paths[number]), table.schema)
        self._writers[number].write_table(table)

    def _remember_customers(self, lines: pl.DataFrame) -> None:
        # Their hashes are enough to count them, at 8 bytes a customer.
        seen = lines.select(pl.coalesce("customer", "email").hash().alias("who")).unique()
        known = seen if self._customers is None else pl.concat([self._customers, seen])
        self._customers = known.unique()

    def _remember_products(self, lines: pl.DataFrame) -> None:
        seen = lines.filter(pl.col("product").is_not_null()).select(
            "product", "product_name", "category", pl.col("at").alias("first_at")
        )
        known = seen if self._products is None else pl.concat([self._products, seen])
        self._products = known.group_by("product", maintain_order=True).agg(
            pl.col("product_name").drop_nulls().first(),
            pl.col("category").drop_nulls().first(),
            pl.col("first_at").min(),
        )
