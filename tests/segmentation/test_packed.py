"""Columns of bytes that are made and read as one buffer hold what they would hold made row by row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from segmentation import packed


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (5, 0), (0, 3)])
def test_rows_become_their_bytes(shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    assert packed.pack(matrix).to_list() == [row.tobytes() for row in matrix]


def test_rows_that_are_not_known_are_null_and_columns_in_another_order_are_rows_all_the_same():
    matrix = np.asfortranarray(np.arange(6, dtype="<f8").reshape(3, 2))
    column = packed.pack(matrix, np.array([True, False, True]))
    assert column.to_list() == [matrix[0].tobytes(), None, matrix[2].tobytes()]


@pytest.mark.parametrize("values", [[b"one", None, b"", b"\0two\xff"], [None, None], []])
def test_a_column_is_read_as_one_buffer_also_from_its_middle(values):
    column = pl.Series([b"before", *values, b"after"], dtype=pl.Binary)[1:-1]
    content, starts = packed.joined(column)
    assert [content[a:b].tobytes() for a, b in pairwise(starts)] == [value or b"" for value in values]


def test_text_that_was_joined_from_parts_is_read_in_order():
    column = pl.concat([pl.Series(["ä", "b"]), pl.Series(["", "c" * 40])], rechunk=False).cast(pl.Binary)
    content, starts = packed.joined(column)
    assert content.tobytes().decode() == "äb" + "c" * 40
    assert starts.tolist() == [0, 2, 3, 3, 43]


@pytest.mark.parametrize("values", [[b"one", None, b"", b"\0two\xff"], [None], []])
def test_bytes_that_came_one_behind_the_other_are_values_again(values):
    lengths = np.array([packed.MISSING if value is None else len(value) for value in values], dtype=np.int32)
    assert packed.split(b"".join(value or b"" for value in values), lengths).to_list() == values


def test_numbers_come_back_and_what_holds_another_number_of_them_is_not_known():
    numbers = np.arange(6.0).reshape(2, 3)
    column = pl.concat([packed.pack(numbers), pl.Series([None, b"12345678", b""], dtype=pl.Binary)])
    back = packed.matrix(column, 3)
    assert np.array_equal(back[:2], numbers)
    assert np.isnan(back[2:]).all()
