"""Elements of the studies' figures: panels, curves and points with the range of the seeds, matrices."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from transformer.inspection.plots import COLOURS

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def panels(
    columns: int, rows: int = 1, *, width: float = 3.4, height: float = 2.9, **shared: bool
) -> tuple[Figure, np.ndarray]:
    """Make a figure and its axes, rows x columns; the size of a panel is in inches."""
    figure = Figure(figsize=(columns * width + 0.4, rows * height + 0.3), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def marked(number: int) -> tuple[str, str]:
    """Return the colour and the marker of a curve; no two of the first len(COLOURS) x len(MARKERS) share both."""
    return COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def curve(axes: Axes, x: Sequence[float], y_xR: np.ndarray, name: str, number: int, *, points: bool = True) -> None:
    """Draw the mean over seeds (the last axis), shaded from the least to the most.

    Args:
        number: index of the curve, which gives its colour and its marker.
        points: mark each point, so that curves can be told apart without colour.
    """
    y_xR = np.asarray(y_xR, float).reshape(len(x), -1)
    colour, marker = marked(number)
    style = {"marker": marker, "markersize": 4.5} if points else {}
    axes.plot(x, y_xR.mean(axis=1), label=name, color=colour, linewidth=1.6, **style)
    if y_xR.shape[1] > 1:
        axes.fill_between(x, y_xR.min(axis=1), y_xR.max(axis=1), color=colour, alpha=0.2, linewidth=0)


def finish(axes: Axes, title: str, x_label: str, y_label: str, *, legend: bool = False) -> None:
    """Set the title and the labels of axes, and draw a light grid; axes without data have the title alone."""
    if not axes.has_data():
        axes.set_title(f"{title}: not run", fontsize=9, loc="left")
        axes.set_axis_off()
        return
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=8)


def powers(axes: Axes, values: Sequence[int]) -> None:
    """Make the x axis logarithmic, with a tick at each value."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()


def points(
    axes: Axes, names: Sequence[str], values_xR: np.ndarray, *, low: float | None = None, number: int = 0
) -> None:
    """Draw the values of each name as points on a line of its own; "n/a" where none is a number.

    Args:
        low: start of a logarithmic axis, where smaller values are drawn as open points; None: the axis is linear.
        number: index of the series, which gives its colour and its marker.
    """
    if not names:
        return
    values_xR = np.asarray(values_xR, float).reshape(len(names), -1)
    colour, marker = marked(number)
    style = {"marker": marker, "linestyle": "none", "color": colour}
    for row, values in enumerate(values_xR):
        known = values[np.isfinite(values)]
        if not len(known):
            axes.text(0.02, row, "n/a", transform=axes.get_yaxis_transform(), va="center", fontsize=8, color="grey")
        small = known < low if low is not None else np.zeros(len(known), bool)
        axes.plot(known[~small], np.full(sum(~small), row), markersize=5, alpha=0.8, **style)
        axes.plot(np.full(sum(small), low), np.full(sum(small), row), markersize=5, markerfacecolor="none", **style)
    if low is not None:
        axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def even(rows: Mapping[str, Sequence[float]]) -> tuple[list[str], np.ndarray]:
    """Return names and values, x R, of rows that may have different numbers of seeds: those that all have."""
    count = min(map(len, rows.values()), default=0)
    values_xR = np.array([list(map(float, values))[:count] for values in rows.values()])
    return list(rows), values_xR.reshape(len(rows), count)


def matrix(
    axes: Axes, array: np.ndarray, title: str, *, rows: str, columns: str, top: float | None = None
) -> AxesImage:
    """Draw a map of numbers from 0 to `top`; `rows` and `columns` are the labels of the axes."""
    image = axes.imshow(array, cmap="viridis", vmin=0.0, vmax=top, interpolation="nearest")
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(columns, fontsize=9)
    axes.set_ylabel(rows, fontsize=9)
    axes.tick_params(labelsize=8, length=2)
    return image
