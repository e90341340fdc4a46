"""The quick way through CSV: a block of whole lines at once, where quotes cannot reach from line to line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import polars as pl

BLOCK_BYTES = 4 * 1024 * 1024
_TEXT, _NUMBER = "text", "number"


class Source:
    """Bytes of a file, by block or by line; what was taken can be put back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rest = b""

    def block(self) -> bytes:
        """Whole lines of about `BLOCK_BYTES`; empty at the end of the file, or when a line is longer than that."""
        data = self._rest + self._file.read(BLOCK_BYTES)
        at_end = len(data) - len(self._rest) == 0
        end = len(data) if at_end else data.rfind(b"\n") + 1
        self._rest = data[end:]
        return data[:end]

    def put_back(self, data: bytes) -> None:
        self._rest = data + self._rest

    def readline(self, limit: int) -> bytes:
        """A line, or its first `limit` bytes."""
        while (end := self._rest.find(b"\n", 0, limit)) < 0 and len(self._rest) < limit:
            more = self._file.read(BLOCK_BYTES)
            if not more:
                break
            self._rest += more
        size = limit if end < 0 else end + 1
        line, self._rest = self._rest[:size], self._rest[size:]
        return line


@dataclass(frozen=True)
class Parsed:
    """Line numbers and cells (columns c0, c1, …) of good lines; bad ones as (number, fields or error, text)."""

    cells: pl.DataFrame
    bad: tuple[tuple[int, int | str, str], ...]
    lines: int


def parse(block: bytes, *, first: int, delimiter: str, width: int, longest: int) -> Parsed | None:
    """The records of a block whose first line has the number `first`; None where each line needs a closer look.

    That is: bytes that are no text, carriage returns within a line, a line longer than `longest`, or an odd
    number of quotes in a line, so that a record might go on in the next one.
    """
    try:
        text = block.decode()
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n").removesuffix("\n")
    if "\x00" in text or "\r" in text:
        return None
    lines = pl.DataFrame({_TEXT: text.split("\n")}).with_row_index(_NUMBER, offset=first)
    quotes = pl.col(_TEXT).str.count_matches('"', literal=True)
    lines = lines.with_columns(pl.col(_NUMBER).cast(pl.Int64), quotes.alias("quotes"))
    limits = lines.select((pl.col("quotes") % 2).max(), pl.col(_TEXT).str.len_bytes().max().alias("length"))
    if limits["quotes"][0] or limits["length"][0] > longest:
        return None
    count = len(lines)
    lines = lines.filter(pl.col(_TEXT) != "")
    plain, bad_plain = _plain(lines.filter(pl.col("quotes") == 0), delimiter, width)
    quoted = lines.filter(pl.col("quotes") > 0).select(_NUMBER, _TEXT).rows()
    rows, bad_quoted = _quoted(quoted, delimiter, width)
    cells = pl.concat([plain, pl.DataFrame(rows, schema=plain.schema, orient="row")]).sort(_NUMBER)
    return Parsed(cells, (*bad_plain, *bad_quoted), count)


def _plain(
    lines: pl.DataFrame, delimiter: str, width: int
) -> tuple[pl.DataFrame, list[tuple[int, int, str]]]:
    found = pl.col(_TEXT).str.count_matches(delimiter, literal=True).cast(pl.Int64) + 1
    lines = lines.with_columns(found.alias("fields"))
    names = [f"c{index}" for index in range(width)]
    split = pl.col(_TEXT).str.split_exact(delimiter, width - 1).struct.rename_fields(names)
    good = lines.filter(pl.col("fields") == width).select(_NUMBER, split.alias("cells")).unnest("cells")
    bad = lines.filter(pl.col("fields") != width).select(_NUMBER, "fields", _TEXT)
    return good, bad.rows()


def _quoted(
    lines: Sequence[tuple[int, str]], delimiter: str, width: int
) -> tuple[list[tuple[int | str, ...]], list[tuple[int, int | str, str]]]:
    rows: list[tuple[int | str, ...]] = []
    bad: list[tuple[int, int | str, str]] = []
    for number, text in lines:
        try:
            cells = next(_reader(text, delimiter))
        except csv.Error as error:
            bad.append((number, str(error), text))
            continue
        if len(cells) == width:
            rows.append((number, *cells))
        else:
            bad.append((number, len(cells), text))
    return rows, bad


def _reader(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader([text], delimiter=delimiter, strict=True)
