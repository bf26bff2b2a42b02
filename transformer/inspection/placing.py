"""Panels of one size, their colour bar and the title of a figure, placed by the measured size of their text.

The layouts of matplotlib keep room for text beside the rectangle that a panel could fill, not beside the square cells
in it, and few cells leave them too little.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transformer.inspection.layout import LETTER

GAP, BAR, SHORTEST_BAR, SHORTEST_LINE = 0.1, 0.12, 0.6, 36
"""Space between the parts of a figure, width and least height of a colour bar (inches), and letters in a title's line
where the panels below are narrower."""


def add_axes(figure: Figure, size: tuple[float, float]) -> Axes:
    """Add axes of a width and a height (inches), whatever their place."""
    return figure.add_axes((0, 0, *np.divide(size, figure.get_size_inches())))


def _room(axes: Axes) -> np.ndarray:
    """Measure the text to the left of axes, below, to the right and above (inches)."""
    inner = axes.get_window_extent()
    outer = axes.get_tightbbox() or inner
    low, high = np.subtract(inner.min, outer.min), np.subtract(outer.max, inner.max)
    return np.concatenate([low, high]) / axes.figure.dpi


def place(
    figure: Figure,
    panels: Sequence[Axes],
    columns: int,
    size: tuple[float, float],
    bar: Axes,
    title: str,
    font_family: Sequence[str] | None = None,
) -> None:
    """Place panels in rows, the colour bar beside them and the title above; the figure gets room for all.

    Args:
        columns: panels of a row.
        size: width and height of a panel (inches).
    """
    width, height = size
    row, column = np.divmod(np.arange(len(panels)), columns)
    rows = row[-1] + 1
    rooms = np.array([_room(axes) for axes in panels])
    left, right = (np.array([rooms[column == n, side].max() for n in range(columns)]) for side in (0, 2))
    below, above = (np.array([rooms[row == n, side].max() for n in range(rows)]) for side in (1, 3))

    grid = rows * height + (below[:-1] + GAP + above[1:]).sum()
    length = max(0.8 * grid, SHORTEST_BAR)
    bar.set_position((0, 0, *np.divide((BAR, length), figure.get_size_inches())))
    _, bar_below, bar_right, bar_above = _room(bar)
    below[-1] = max(below[-1], (length - grid) / 2 + bar_below)
    above[0] = max(above[0], (length - grid) / 2 + bar_above)

    whole_width = columns * (width + GAP) + left.sum() + right.sum() + BAR + bar_right + 2 * GAP
    whole_height = rows * (height + GAP) + below.sum() + above.sum() + GAP
    margin = GAP
    if title:
        letters = max(SHORTEST_LINE, int(whole_width / LETTER))
        lines = "\n".join(textwrap.fill(line, letters) for line in title.split("\n"))
        heading = figure.suptitle(lines, fontsize=10, fontfamily=font_family, va="top", parse_math=False)
        extent = heading.get_window_extent()
        title_width, title_height = extent.width / figure.dpi, extent.height / figure.dpi
        margin += max(0.0, title_width + 2 * GAP - whole_width) / 2
        whole_width, whole_height = max(whole_width, title_width + 2 * GAP), whole_height + title_height + GAP
        heading.set_y(1.0 - GAP / whole_height)
    figure.set_size_inches(whole_width, whole_height)

    def put(axes: Axes, x: float, y: float, size: tuple[float, float]) -> None:
        axes.set_position((x / whole_width, y / whole_height, size[0] / whole_width, size[1] / whole_height))

    x = margin + left + np.concatenate([[0.0], np.cumsum(left + width + right + GAP)[:-1]])
    y = GAP + below + np.concatenate([np.cumsum((below + height + above + GAP)[::-1])[-2::-1], [0.0]])
    for axes, at_row, at_column in zip(panels, row, column, strict=True):
        put(axes, x[at_column], y[at_row], size)
    put(bar, x[-1] + width + right[-1] + GAP, y[-1] + (grid - length) / 2, (BAR, length))
