"""Parquet files that grow block by block and appear under their names only when complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from .lines import EVENT_COLUMNS
from .people import CUSTOMER_COLUMNS
from .truth import FUTURE_COLUMNS, TRUTH_COLUMNS

SCHEMAS: dict[str, Mapping[str, pl.DataType]] = {
    "events": EVENT_COLUMNS,
    "customers": CUSTOMER_COLUMNS,
    "truth": TRUTH_COLUMNS,
    "future": FUTURE_COLUMNS,
}


class ShopFiles:
    """The four files of a shop, written to `.part` names and renamed by `finish`.

    As a context manager it removes the parts when the block is left without `finish`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.paths = {name: folder / f"{name}.parquet" for name in SCHEMAS}
        self._writers = {
            name: pq.ParquetWriter(_part(path), _schema(name)) for name, path in self.paths.items()
        }

    def __enter__(self) -> ShopFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, path in self.paths.items():
            self._writers[name].close()
            _part(path).unlink(missing_ok=True)

    def append(self, name: str, frame: pl.DataFrame) -> None:
        self._writers[name].write_table(_table(frame).cast(_schema(name)))

    def finish(self) -> None:
        for name, path in self.paths.items():
            self._writers[name].close()
            _part(path).replace(path)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _schema(name: str) -> pa.Schema:
    return _table(pl.DataFrame(schema=SCHEMAS[name])).schema


def _table(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
