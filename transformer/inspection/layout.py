"""Sizes of figures whose cells are tokens or labels: whatever their number, a figure has at most `LARGEST` inches.

number of tokens    cells                labels
few                 CELL inches          each
many                smaller              some
very many           SMALLEST inches      some, and the first tokens alone are drawn
"""

import math
from typing import NamedTuple

LARGEST = 24.0
"""Largest width and height of all panels of a figure (inches): 3,600 pixels at 150 dots per inch."""

USUAL = 15.0
"""Largest width of several panels side by side, as long as their cells need not shrink (inches)."""

CELL, SMALLEST = 0.165, 0.0134
"""Width of a cell with room for a character, and of the smallest one, 2 pixels at 150 dots per inch (inches)."""

LETTER, FRAME = 0.085, 0.45
"""Width of a letter of a label, and room around a panel (inches)."""

LONGEST_LABEL = 24
"""Maximum length of a label (characters)."""


class Layout(NamedTuple):
    """Panels in rows and columns, and what each of them shows.

    Attributes:
        panels: number of panels that fit: all, or 1.
        rows: number of rows of panels.
        columns: number of panels in a row.
        width: width of a panel (inches).
        height: height of a panel (inches).
        cell: width of a cell (inches).
        queries: number of rows of a panel that are drawn, the first ones.
        keys: number of columns of a panel that are drawn, the first ones.
    """

    panels: int
    rows: int
    columns: int
    width: float
    height: float
    cell: float
    queries: int
    keys: int

    @property
    def fits(self) -> bool:
        """True where the figure is small enough."""
        return self.columns * self.width <= LARGEST and self.rows * self.height <= LARGEST


def lay_out(panels: int, queries: int, keys: int, letters: tuple[int, int]) -> Layout:
    """Choose the largest cells with which all panels fit, or the most tokens that fit with the smallest cells.

    Args:
        panels: number of panels.
        queries: number of rows of a panel.
        keys: number of columns of a panel.
        letters: length of the longest label of a row and of a column (characters).
    """
    cell = CELL
    while cell >= SMALLEST:
        for widest in (USUAL, LARGEST):
            layout = _at(cell, widest, panels, (queries, keys), letters)
            if layout.fits:
                return layout
        cell *= 0.95
    few, many = 0, max(queries, keys)
    while many - few > 1:  # `few` tokens fit, `many` do not
        middle = (few + many) // 2
        fits = _at(SMALLEST, LARGEST, panels, (min(queries, middle), min(keys, middle)), letters).fits
        few, many = (middle, many) if fits else (few, middle)
    if not few:
        return lay_out(1, queries, keys, letters)
    return _at(SMALLEST, LARGEST, panels, (min(queries, few), min(keys, few)), letters)


def _at(cell: float, widest: float, panels: int, shown: tuple[int, int], letters: tuple[int, int]) -> Layout:
    width = shown[1] * cell + FRAME + LETTER * letters[0]
    height = shown[0] * cell + FRAME + LETTER * letters[1]
    columns = max(1, min(panels, int(widest // width)))
    rows = -(-panels // columns)
    columns = -(-panels // rows)  # no emptier than need be: 5 panels in 2 rows are 3 and 2, not 4 and 1
    return Layout(panels, rows, columns, width, height, cell, *shown)


def lay_out_square(labels: int, letters: int) -> tuple[float, int]:
    """Return the width of a cell of a square of labels (inches), and how many labels are drawn, the first ones."""
    room = LARGEST - 2.0 - LETTER * letters
    usual = 0.5 if labels <= 25 else 0.2
    cell = max(min(usual, room / max(labels, 1)), SMALLEST)
    return cell, min(labels, math.floor(room / cell + 1e-9))


def label_step(cell: float, size: float) -> int:
    """Return the distance of labels of a size (inches) that do not overlap, as a number of cells."""
    return max(1, math.ceil(size / cell - 1e-9))


def short_label(label: str) -> str:
    """Return a label of at most `LONGEST_LABEL` characters."""
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def shown_line(what: str, shown: int, count: int) -> list[str]:
    """Return a line of a title about what is left out, if anything is."""
    return [f"the first {shown:,} of {count:,} {what}"] if shown < count else []
