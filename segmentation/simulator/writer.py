"""Parquet files that grow block by block and appear under their names only when complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from .campaign import LOG_COLUMNS
from .lines import EVENT_COLUMNS
from .people import CUSTOMER_COLUMNS
from .responses import RESPONSE_COLUMNS
from .truth import FUTURE_COLUMNS, TRUTH_COLUMNS

SCHEMAS: dict[str, Mapping[str, pl.DataType]] = {
    "events": EVENT_COLUMNS,
    "customers": CUSTOMER_COLUMNS,
    "truth": TRUTH_COLUMNS,
    "future": FUTURE_COLUMNS,
    "responses": RESPONSE_COLUMNS,
}
# Only where a campaign is played.
CAMPAIGN_SCHEMAS: dict[str, Mapping[str, pl.DataType]] = {
    "campaign": LOG_COLUMNS,
    "campaign_events": EVENT_COLUMNS,
}


class ShopFiles:
    """The files of a shop, written to `.part` names and renamed by `finish`.

    As a context manager it removes the parts when the block is left without `finish`.
    """

    def __init__(self, folder: Path, *, campaign: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._schemas = SCHEMAS | (CAMPAIGN_SCHEMAS if campaign else {})
        self.paths = {name: folder / f"{name}.parquet" for name in self._schemas}
        self._writers = {
            name: pq.ParquetWriter(_part(path), self._schema(name)) for name, path in self.paths.items()
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
        self._writers[name].write_table(_table(frame).cast(self._schema(name)))

    def finish(self) -> None:
        for name, path in self.paths.items():
            self._writers[name].close()
            _part(path).replace(path)
        for name in CAMPAIGN_SCHEMAS.keys() - self.paths.keys():
            (self._folder / f"{name}.parquet").unlink(missing_ok=True)  # of another shop

    def _schema(self, name: str) -> pa.Schema:
        return _table(pl.DataFrame(schema=self._schemas[name])).schema


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _table(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
