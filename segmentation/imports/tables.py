"""Any file as a stream of frames with line numbers: what a format must offer, and how a file is recognised."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl
from django.utils.translation import gettext as _

from segmentation.imports.problems import ImportProblem, Reject

LINE = "__line__"
_HEAD = 4096
# A million rows of twenty columns are about half of it.
MOST_UNPACKED = 1024**3


@dataclass(frozen=True)
class Chunk:
    """Some lines: the file's columns and `LINE`, lines that could not even be read, and the share done (0..1)."""

    frame: pl.DataFrame
    rejects: tuple[Reject, ...] = ()
    done: float = 0.0


class Table(Protocol):
    columns: tuple[str, ...]
    estimated_rows: int

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Chunks of at most `rows` lines, in the order of the file."""
        ...


def open_table(path: Path) -> Table:
    """Recognise a file by its content and open it. Raises ImportProblem."""
    head = _read_head(path)
    kind = _recognise(path, head)
    if kind == "parquet":
        from segmentation.imports.parquet_table import ParquetTable

        return ParquetTable(path)
    if kind == "xlsx":
        from segmentation.imports.xlsx_table import XlsxTable

        return XlsxTable(path)
    from segmentation.imports.csv_table import CsvTable

    return CsvTable(path, compressed=kind == "gzip")


def check_columns(path: Path, columns: tuple[str, ...]) -> None:
    """A heading must name each column once."""
    if not columns or not any(columns):
        raise ImportProblem(_("%(file)s has no column headings in its first line.") % {"file": path.name})
    repeated = sorted({name for name in columns if name and columns.count(name) > 1})
    if repeated:
        raise ImportProblem(
            _("%(file)s has several columns called %(names)s; give each column a name of its own.")
            % {"file": path.name, "names": ", ".join(repeated)}
        )


def _read_head(path: Path) -> bytes:
    if path.is_dir():
        raise ImportProblem(_("%(file)s is a folder; name a file in it.") % {"file": path})
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise ImportProblem(_("There is no file %(file)s; check the path.") % {"file": path}) from None
    except OSError as error:
        raise ImportProblem(
            _("%(file)s cannot be read: %(why)s.") % {"file": path, "why": error.strerror or error}
        ) from error
    if not head.strip():
        raise ImportProblem(_("%(file)s is empty; there is nothing to import.") % {"file": path.name})
    return head


def _recognise(path: Path, head: bytes) -> str:
    """ "parquet", "xlsx", "gzip" or "csv" by the first bytes; a name that promises something else is an error."""
    name = path.name.lower()
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        _check_workbook(path)
        return "xlsx"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    for ending, kind in ((".parquet", "Parquet"), (".xlsx", "XLSX"), (".gz", "gzip")):
        if name.endswith(ending):
            raise ImportProblem(
                _("%(file)s is named like a %(kind)s file but its content is not %(kind)s; export it again.")
                % {"file": path.name, "kind": kind}
            )
    foreign = _foreign(head)
    if foreign:
        raise ImportProblem(
            _(
                "%(file)s is %(found)s. Files can be CSV (UTF-8), CSV.gz, Parquet or XLSX; save it as one of these."
            )
            % {"file": path.name, "found": foreign}
        )
    return "csv"


def _check_workbook(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if "xl/workbook.xml" in archive.namelist():
                return _check_size(path, sum(part.file_size for part in archive.infolist()))
    except (zipfile.BadZipFile, OSError) as error:
        raise ImportProblem(
            _("%(file)s is a damaged XLSX or ZIP file; export it again.") % {"file": path.name}
        ) from error
    raise ImportProblem(
        _("%(file)s is a ZIP archive; unpack it and import the file inside.") % {"file": path.name}
    )


def _check_size(path: Path, unpacked: int) -> None:
    """Texts of a workbook are held in memory."""
    if unpacked > MOST_UNPACKED:
        raise ImportProblem(
            _("%(file)s is too large for a workbook; save it as CSV or Parquet.") % {"file": path.name}
        )


def _foreign(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _("text in UTF-16")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return _("an old Excel workbook (.xls)")
    if head.startswith(b"%PDF"):
        return _("a PDF document")
    if start.startswith((b"{", b"[")):
        return _("JSON")
    if start.startswith(b"<"):
        return _("XML or HTML")
    if b"\x00" in head.split(b"\n")[0]:  # in the headings; further down a NUL costs only its line
        return _("a binary file")
    return ""
