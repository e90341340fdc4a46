"""A polars frame as the bytes of PostgreSQL's binary COPY, built column by column without a loop over rows.

Every row is laid out at one width in a byte matrix: field count, then length and content of each field, padded to the
widest value of the block. Where something varies (text, bytes, null) a second matrix says which bytes count.
Format: postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import numpy as np
import polars as pl

from segmentation import packed

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
BLOCK_BYTES: Final = 8 << 20
BLOCK_ROWS: Final = 8192
_LENGTH: Final = 4
_NULL: Final = -1
# PostgreSQL counts days and microseconds from 2000-01-01.
_EPOCH_DAY: Final = (date(2000, 1, 1) - date(1970, 1, 1)).days
_EPOCH_MICROSECONDS: Final = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
# Column type → what the frame's column must become, and how that is written; None: as many bytes as it has.
KINDS: Final[Mapping[str, tuple[pl.DataType, str | None]]] = {
    "bigint": (pl.Int64(), ">i8"),
    "integer": (pl.Int32(), ">i4"),
    "smallint": (pl.Int16(), ">i2"),
    "double precision": (pl.Float64(), ">f8"),
    "boolean": (pl.Boolean(), ">u1"),
    "date": (pl.Date(), ">i4"),
    "timestamp with time zone": (pl.Datetime("us", "UTC"), ">i8"),
    "varchar": (pl.String(), None),
    "text": (pl.String(), None),
    "bytea": (pl.Binary(), None),
}


@dataclass(frozen=True)
class _Field:
    """One column of a block. lengths: (n,) bytes a value has, or -1; content: (n, width) uint8, padded with zeros."""

    lengths: np.ndarray
    content: np.ndarray

    @property
    def is_even(self) -> bool:
        return bool((self.lengths == self.content.shape[1]).all())


@dataclass(frozen=True)
class _Fixed:
    """A column whose values all have one width. numbers: (n,) as sent."""

    lengths: np.ndarray
    numbers: np.ndarray

    def part(self, start: int, end: int) -> _Field:
        numbers = self.numbers[start:end]
        return _Field(self.lengths[start:end], numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize))


@dataclass(frozen=True)
class _Varying:
    """A column of texts or bytes. joined: all of them, one behind the other; starts: (n + 1,) where each begins."""

    lengths: np.ndarray
    joined: np.ndarray
    starts: np.ndarray

    def part(self, start: int, end: int) -> _Field:
        lengths, joined = self.lengths[start:end], self.joined[self.starts[start] : self.starts[end]]
        counts = np.maximum(lengths, 0)
        width = int(counts.max(initial=0))
        if len(joined) == len(lengths) * width:
            return _Field(lengths, joined.reshape(len(lengths), width))
        content = np.zeros((len(lengths), width), dtype=np.uint8)
        content[np.arange(width) < counts[:, None]] = joined
        return _Field(lengths, content)


def can_write(frame: pl.DataFrame, types: Mapping[str, str]) -> bool:
    """Whether the columns can be sent as the given PostgreSQL types without a value changing its meaning."""
    return all(
        types[name] in KINDS and _fits(dtype, KINDS[types[name]][0]) for name, dtype in frame.schema.items()
    )


def blocks(frame: pl.DataFrame, types: Mapping[str, str]) -> Iterator[bytes]:
    """The bytes of the whole frame in parts of some megabytes. types: PostgreSQL type by column name.

    A number that its type cannot hold raises polars.exceptions.InvalidOperationError.
    """
    frame = frame.with_columns(pl.col(name).cast(KINDS[types[name]][0]) for name in frame.columns)
    yield HEADER
    columns = [_column(column, types[column.name]) for column in frame]
    size = _rows_a_block(frame)
    for start in range(0, frame.height, size):
        end = min(start + size, frame.height)
        yield _block([column.part(start, end) for column in columns])
    yield TRAILER


def _fits(given: pl.DataType, wanted: pl.DataType) -> bool:
    if given == wanted or given == pl.Null:
        return True
    if isinstance(wanted, pl.Datetime):
        return isinstance(given, pl.Datetime) and given.time_zone == "UTC"
    if wanted.is_float():
        return given.is_numeric() and not given.is_decimal()
    return wanted.is_integer() and given.is_integer()


def _rows_a_block(frame: pl.DataFrame) -> int:
    """A block is padded to its longest text, so one very long text must not meet thousands of rows."""
    sizes = frame.select(pl.col(pl.String, pl.Binary).cast(pl.Binary).bin.size().max())
    longest = sum(size or 0 for size in sizes.row(0)) if sizes.width else 0
    width = longest + 12 * frame.width
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // width))


def _column(column: pl.Series, kind: str) -> _Fixed | _Varying:
    wire = KINDS[kind][1]
    if wire is None:
        return _varying(column)
    missing = column.null_count() > 0
    values = column.to_physical()
    known = values.fill_null(value=False if kind == "boolean" else 0) if missing else values
    numbers = known.to_numpy()
    if kind == "date":
        numbers = numbers - _EPOCH_DAY
    elif kind == "timestamp with time zone":
        numbers = numbers - _EPOCH_MICROSECONDS
    sent = numbers.astype(wire)
    lengths = np.full(len(column), sent.itemsize)
    if missing:
        lengths[column.is_null().to_numpy()] = _NULL
    return _Fixed(lengths, sent)


def _varying(column: pl.Series) -> _Varying:
    joined, starts = packed.joined(column.cast(pl.Binary))
    lengths = np.diff(starts)
    if column.null_count():
        lengths[column.is_null().to_numpy()] = _NULL
    return _Varying(lengths, joined, starts)


def _block(fields: list[_Field]) -> bytes:
    count = len(fields[0].lengths)
    width = 2 + sum(_LENGTH + field.content.shape[1] for field in fields)
    matrix = np.empty((count, width), dtype=np.uint8)
    matrix[:, :2] = np.frombuffer(len(fields).to_bytes(2, "big"), dtype=np.uint8)
    even = all(field.is_even for field in fields)
    counts_ = None if even else np.ones((count, width), dtype=bool)
    at = 2
    for field in fields:
        size = field.content.shape[1]
        matrix[:, at : at + _LENGTH] = field.lengths.astype(">i4").view(np.uint8).reshape(count, _LENGTH)
        at += _LENGTH
        matrix[:, at : at + size] = field.content
        if counts_ is not None:
            counts_[:, at : at + size] = np.arange(size) < field.lengths[:, None]
        at += size
    return (matrix if counts_ is None else matrix[counts_]).tobytes()
