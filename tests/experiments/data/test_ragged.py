import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=7), max_size=11)


@given(rows=ROWS)
def test_rows_come_back_in_order(rows):
    ragged = Ragged.of(rows)
    assert len(ragged) == len(rows)
    assert [row.tolist() for row in ragged] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert (ragged.tokens.dtype, ragged.offsets.dtype, ragged.lengths.dtype) == (np.int32, np.int64, np.int64)


@given(rows=ROWS, data=st.data())
def test_take_is_taking_one_by_one(rows, data):
    indices = data.draw(st.lists(st.integers(-len(rows), len(rows) - 1), max_size=13)) if rows else []
    taken = Ragged.of(rows).take(indices)
    assert [row.tolist() for row in taken] == [rows[i] for i in indices]
    assert taken.tokens.dtype == np.int32


def test_a_row_is_a_view_counted_from_either_end():
    ragged = Ragged.of([[1, 2], [], [3, 4, 5]])
    assert ragged[-1].tolist() == ragged[2].tolist() == [3, 4, 5]
    assert ragged[-1].base is ragged.tokens
    for beyond in (3, -4):
        with pytest.raises(IndexError):
            ragged[beyond]
