"""Claims about the sizes of figures: none is too large, and cells shrink before tokens are left out."""

import itertools

import pytest

from transformer.inspection.layout import CELL, LARGEST, SMALLEST, label_step, lay_out, lay_out_square, short_label


@pytest.mark.parametrize(
    ("panels", "tokens", "letters"),
    list(itertools.product([1, 2, 5, 13, 129, 2000], [(1, 1), (11, 45), (560, 560), (1, 9999), (9999, 1)], [1, 24])),
)
def test_every_number_of_heads_and_tokens_fits(panels, tokens, letters):
    layout = lay_out(panels, *tokens, (letters, letters))
    assert layout.columns * layout.width <= LARGEST
    assert layout.rows * layout.height <= LARGEST
    assert layout.rows * layout.columns >= layout.panels in (panels, 1)
    assert SMALLEST <= layout.cell <= CELL
    left_out = (layout.queries, layout.keys) != tokens
    assert not left_out or layout.cell == SMALLEST
    assert min(layout.queries, layout.keys) >= 1


def test_few_tokens_have_whole_cells_and_many_smaller_ones():
    assert lay_out(5, 11, 45, (5, 5)).cell == CELL
    assert SMALLEST < lay_out(5, 200, 200, (1, 1)).cell < CELL
    assert (lay_out(5, 200, 200, (1, 1)).keys, lay_out(5, 1000, 1000, (1, 1)).cell) == (200, SMALLEST)


@pytest.mark.parametrize(("labels", "letters"), list(itertools.product([2, 25, 26, 200, 99_999], [1, 24])))
def test_every_number_of_labels_fits(labels, letters):
    cell, shown = lay_out_square(labels, letters)
    assert cell * shown < LARGEST
    assert SMALLEST <= cell <= 0.5
    assert shown == labels or cell == SMALLEST


def test_labels_thin_out_where_cells_are_smaller_than_they_are():
    assert [label_step(cell, 0.12) for cell in (CELL, 0.12, 0.119, 0.06, SMALLEST)] == [1, 1, 2, 2, 9]
    assert (short_label("word"), len(short_label("x" * 99))) == ("word", 24)
