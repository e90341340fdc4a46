from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.imports import csv_blocks
from segmentation.imports.csv_table import CsvTable

cells = st.text(alphabet='ab,";é\n\r\x00 ', max_size=6)
raw_lines = st.lists(st.one_of(st.binary(max_size=12), cells.map(str.encode)), max_size=12)


def read(path: Path, rows: int):
    """Lines and rejects of a file read `rows` at a time."""
    good, bad = [], []
    for chunk in CsvTable(path, compressed=False).chunks(rows):
        good += chunk.frame.rows()
        bad += [(reject.line, reject.reason) for reject in chunk.rejects]
    return good, sorted(bad)


@given(raw_lines)
@settings(max_examples=150, deadline=None)
def test_the_quick_way_and_line_by_line_agree_on_any_bytes(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(b"a,b\n" + b"\n".join(lines))

    assert read(path, 10**6) == read(path, 3)


@pytest.mark.parametrize("size", [7, 16, 50, 10_000])
def test_blocks_of_any_size_give_the_same_lines(tmp_path, monkeypatch, size):
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", size)
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"a,b\n" + b"".join(b'%d,"x ""%d"", y"\n%d,z\n' % (number, number, number) for number in range(20))
    )

    good, bad = read(path, 10**6)

    assert not bad
    assert good[2:4] == [(4, "1", 'x "1", y'), (5, "1", "z")]
    assert [row[0] for row in good] == list(range(2, 42))


def test_a_record_over_several_lines_in_the_middle_of_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 64)
    path = tmp_path / "a.csv"
    rows = [f"{number},plain\n" for number in range(30)]
    rows[15] = '15,"one\ntwo\nthree"\n'
    path.write_text("a,b\n" + "".join(rows))

    good, bad = read(path, 10**6)

    assert not bad
    assert good[15] == (17, "15", "one\ntwo\nthree")
    assert good[16] == (20, "16", "plain")
