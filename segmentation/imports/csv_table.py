"""CSV, plain or gzipped: read line by line, so that one broken line costs that line alone."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import polars as pl
from django.utils.translation import gettext as _

from segmentation.imports import csv_blocks
from segmentation.imports.problems import ImportProblem, Reject
from segmentation.imports.tables import LINE, Chunk, check_columns

MAX_LINE = 1024 * 1024
MAX_FIELD = 128 * 1024
SHOWN = 300
ROWS_A_BLOCK = 1000  # who wants fewer lines at a time is not in a hurry
_DELIMITERS = ",;\t|"


class CsvTable:
    def __init__(self, path: Path, *, compressed: bool) -> None:
        self.path = path
        self.compressed = compressed
        with self._open() as (file, _raw):
            heading = _read_heading(path, file)
        self.delimiter = max(_DELIMITERS, key=heading.count)
        try:
            self.columns = tuple(
                name.strip() for name in next(csv.reader([heading], delimiter=self.delimiter))
            )
        except (csv.Error, StopIteration) as error:
            raise ImportProblem(
                _("The first line of %(file)s is not a CSV heading.") % {"file": path.name}
            ) from error
        check_columns(path, self.columns)
        size = path.stat().st_size * (8 if compressed else 1)
        self.estimated_rows = max(size // max(len(self.columns) * 8, 20), 1)

    def chunks(self, rows: int) -> Iterator[Chunk]:
        size = max(self.path.stat().st_size, 1)
        with self._open() as (file, raw):
            source = csv_blocks.Source(file)
            lines = _Lines(source)
            records = _Records(lines, delimiter=self.delimiter, width=len(self.columns))
            try:
                next(lines)  # the heading
                while True:
                    frame, rejects = self._next(source, lines, records, rows)
                    if frame.is_empty() and not rejects and lines.is_over:
                        return
                    yield Chunk(frame, tuple(rejects), min(raw.tell() / size, 1.0))
            except (OSError, EOFError, zlib.error) as error:
                raise ImportProblem(
                    _(
                        "%(file)s breaks off somewhere after line %(line)d (%(why)s). Copy it again and import it anew; "
                        "nothing is imported twice."
                    )
                    % {"file": self.path.name, "line": lines.number, "why": error}
                ) from error

    def _next(
        self, source: csv_blocks.Source, lines: _Lines, records: _Records, rows: int
    ) -> tuple[pl.DataFrame, list[Reject]]:
        """A block the quick way where that gives the same; else line by line."""
        if rows >= ROWS_A_BLOCK and not lines.again:
            block = source.block()
            parsed = csv_blocks.parse(
                block,
                first=lines.number + 1,
                delimiter=self.delimiter,
                width=len(self.columns),
                longest=MAX_FIELD,
            )
            if block and parsed is not None:
                lines.number += parsed.lines
                return self._named(parsed.cells), [records.reject(*bad) for bad in parsed.bad]
            source.put_back(block)
        numbers, values = records.take(rows)
        return self._frame(numbers, values), [*lines.take_rejects(), *records.take_rejects()]

    def _named(self, cells: pl.DataFrame) -> pl.DataFrame:
        names = {f"c{index}": name for index, name in enumerate(self.columns) if name}
        return cells.select("number", *names).rename({"number": LINE, **names})

    def _frame(self, numbers: list[int], values: list[list[str]]) -> pl.DataFrame:
        columns = list(zip(*values, strict=True)) if values else [()] * len(self.columns)
        data = {
            name: pl.Series(name, list(column), dtype=pl.String)
            for name, column in zip(self.columns, columns, strict=True)
            if name
        }
        return pl.DataFrame({LINE: pl.Series(LINE, numbers, dtype=pl.Int64), **data})

    def _open(self) -> _Opened:
        return _Opened(self.path, compressed=self.compressed)


class _Opened:
    """The text bytes and, for progress, the file on disk beneath them."""

    def __init__(self, path: Path, *, compressed: bool) -> None:
        self.raw = path.open("rb")
        self.file = cast(IO[bytes], gzip.GzipFile(fileobj=self.raw) if compressed else self.raw)

    def __enter__(self) -> tuple[IO[bytes], IO[bytes]]:
        return self.file, self.raw

    def __exit__(self, *_exception: object) -> None:
        self.file.close()
        self.raw.close()


class _Lines:
    """Physical lines as text. Overlong ones are left out; those with broken UTF-8 are marked."""

    def __init__(self, source: csv_blocks.Source) -> None:
        self.source = source
        self.number = 0
        self.is_over = False
        self.again: deque[tuple[int, str]] = deque()
        self.record: list[tuple[int, str]] = []  # the lines of the record being read
        self.rejects: list[Reject] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.again:
            entry = self.again.popleft()
        else:
            entry = self._read()
        self.record.append(entry)
        return entry[1]

    def take_rejects(self) -> list[Reject]:
        taken, self.rejects = self.rejects, []
        return taken

    def _read(self) -> tuple[int, str]:
        while True:
            line = self.source.readline(MAX_LINE + 1)
            if not line:
                self.is_over = True
                raise StopIteration
            self.number += 1
            if len(line) <= MAX_LINE:
                return self.number, _decode(line, first=self.number == 1)
            self._skip_rest(line)

    def _skip_rest(self, start: bytes) -> None:
        length, line = len(start), start
        while line and not line.endswith(b"\n"):
            line = self.source.readline(MAX_LINE)
            length += len(line)
        reason = _("The line is %(length)d bytes long; at most %(most)d are read.") % {
            "length": length,
            "most": MAX_LINE,
        }
        self.rejects.append(Reject(self.number, reason, _shown(start.decode("utf-8", "replace"))))


class _Records:
    """Records from lines. A record that cannot be read costs its first line; the lines after it are read anew."""

    def __init__(self, lines: _Lines, *, delimiter: str, width: int) -> None:
        self.lines = lines
        self.delimiter = delimiter
        self.width = width
        self.rejects: list[Reject] = []
        csv.field_size_limit(MAX_FIELD)
        self.reader = self._reader()

    def take(self, rows: int) -> tuple[list[int], list[list[str]]]:
        """Line numbers and cells of the next records, at most `rows` read or rejected."""
        numbers: list[int] = []
        values: list[list[str]] = []
        record = self.lines.record
        while len(numbers) + len(self.rejects) < rows:
            record.clear()
            try:
                cells = next(self.reader)
            except StopIteration:
                break
            except csv.Error as error:
                self._reject(_invalid(str(error)))
                continue
            if len(cells) == self.width and not (len(record) and _is_broken(record)):
                numbers.append(record[0][0])
                values.append(cells)
            elif cells:
                self._reject(self._reason(len(cells)))
        return numbers, values

    def take_rejects(self) -> list[Reject]:
        taken, self.rejects = self.rejects, []
        return taken

    def reject(self, number: int, why: int | str, text: str) -> Reject:
        """A line with too many or too few fields, or with the parser's complaint."""
        reason = self._reason(why) if isinstance(why, int) else _invalid(why)
        return Reject(number, reason, _shown(text))

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self.lines, delimiter=self.delimiter, strict=True)

    def _reason(self, found: int) -> str:
        if found != self.width:
            return _("The line has %(found)d fields, the heading has %(expected)d.") % {
                "found": found,
                "expected": self.width,
            }
        return _("The line contains bytes that are not text; save the file as UTF-8.")

    def _reject(self, reason: str) -> None:
        record = self.lines.record
        number, text = record[0]
        self.rejects.append(Reject(number, reason, _shown(text)))
        self.lines.again.extendleft(reversed(record[1:]))
        self.reader = self._reader()  # forgets a quote that was left open


def _invalid(why: str) -> str:
    return _("The line is not valid CSV: %(why)s.") % {"why": why}


def _decode(line: bytes, *, first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError:
        return line.decode("utf-8", "surrogateescape")


def _is_broken(record: list[tuple[int, str]]) -> bool:
    """Bytes that are not UTF-8 were decoded to lone surrogates; NUL cannot be stored."""
    return any(not _is_clean(text) for _number, text in record)


def _is_clean(text: str) -> bool:
    if text.isascii():
        return "\x00" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _shown(text: str) -> str:
    return text[:SHOWN].encode("utf-8", "replace").decode().rstrip("\r\n").replace("\x00", "?")


def _read_heading(path: Path, file: IO[bytes]) -> str:
    try:
        line = file.readline(MAX_LINE)
    except (OSError, EOFError, zlib.error) as error:
        raise ImportProblem(
            _("%(file)s is a damaged gzip file; copy it again.") % {"file": path.name}
        ) from error
    try:
        heading = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportProblem(
            _("The column headings of %(file)s are not valid UTF-8; save the file as CSV in UTF-8.")
            % {"file": path.name}
        ) from error
    if "\x00" in heading or not heading.strip():
        raise ImportProblem(
            _("%(file)s does not start with a line of column headings.") % {"file": path.name}
        )
    return heading
