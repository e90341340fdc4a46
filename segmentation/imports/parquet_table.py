"""Parquet files, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from django.utils.translation import gettext as _

from segmentation.imports.problems import ImportProblem
from segmentation.imports.tables import LINE, Chunk, check_columns


class ParquetTable:
    """Line numbers count rows from 1."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
        self.columns = tuple(self._file.schema_arrow.names)
        check_columns(path, self.columns)
        self.estimated_rows = self._file.metadata.num_rows
        self.wanted: list[str] | None = None

    def chunks(self, rows: int) -> Iterator[Chunk]:
        done = 0
        try:
            for batch in self._file.iter_batches(batch_size=rows, columns=self.wanted):
                frame = pl.DataFrame(pl.from_arrow(batch))
                yield Chunk(
                    frame.with_columns(pl.int_range(done + 1, done + len(frame) + 1).alias(LINE)),
                    done=min((done + len(frame)) / max(self.estimated_rows, 1), 1.0),
                )
                done += len(frame)
        except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
            raise _damaged(self.path, error) from error


def _damaged(path: Path, error: Exception) -> ImportProblem:
    return ImportProblem(
        _("%(file)s is a damaged Parquet file (%(why)s); export it again.")
        % {"file": path.name, "why": str(error).splitlines()[0][:200]}
    )
