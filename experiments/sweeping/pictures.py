"""The pictures of a sweep: the score against each setting, the importance of each, and the learning curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.comparing.statistics import Estimate
from experiments.sweeping.space import Dimension, Range, Space
from experiments.sweeping.summary import PointResult
from transformer import schema
from transformer.inspection.layout import short_label
from transformer.inspection.plots import COLOURS

COLOURED = 5
"""Curves of the best points that have a colour and a name; the others are grey."""


def against_settings(
    results: Sequence[PointResult],
    space: Space,
    importances: Mapping[str, float],
    scores: Mapping[str, Sequence[Estimate]],
) -> Figure:
    """Draw the scores of each point against each dimension, with 95 % intervals, and each dimension's importance.

    Args:
        results: the best first.
        scores: name and unit of a score -> its estimate for each of `results`; a row of panels each.
    """
    columns = len(space.dimensions) + bool(importances)
    figure = Figure(figsize=(1.0 + 3.6 * columns, 0.4 + 2.9 * len(scores)), layout="constrained")
    all_axes = figure.subplots(len(scores), columns, squeeze=False)
    for axes_of_row, (label, estimates) in zip(all_axes, scores.items(), strict=True):
        for axes, dimension in zip(axes_of_row, space.dimensions, strict=False):
            _score_panel(axes, dimension, results, estimates)
        axes_of_row[0].set_ylabel(label)
    if importances:
        _importance_panel(all_axes[0, -1], importances)
        for axes in all_axes[1:, -1]:
            axes.set_visible(False)
    return figure


def _score_panel(
    axes: Axes, dimension: Dimension, results: Sequence[PointResult], estimates: Sequence[Estimate]
) -> None:
    shown = [
        (result, estimate)
        for result, estimate in zip(results, estimates, strict=True)
        if all(name in result.values for name in dimension.names) and math.isfinite(estimate.mean)
    ]
    keys = [_key(dimension, result.values) for result, _ in shown]
    x = _positions(axes, dimension, keys)
    mean = np.array([estimate.mean for _, estimate in shown])
    bars = np.array([estimate.half_width or 0.0 for _, estimate in shown])
    halved = np.array([result.halved for result, _ in shown], bool)
    style = {"color": COLOURS[0], "markersize": 4, "linewidth": 0.8}
    if (~halved).any():
        axes.errorbar(x[~halved], mean[~halved], bars[~halved], fmt="o", **style)
    if halved.any():
        axes.errorbar(x[halved], mean[halved], bars[halved], fmt="x", alpha=0.6, label="stopped, worse half", **style)
    if shown:
        axes.plot(x[:1], mean[:1], "*", color=COLOURS[1], markersize=12, label="best")
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel(dimension.name)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _positions(axes: Axes, dimension: Dimension, keys: Sequence[Any]) -> np.ndarray:
    """Return the place of each value on the axis: numbers of a range at their value, choices side by side."""
    if isinstance(dimension.values, Range):
        if dimension.values.log:
            axes.set_xscale("log")
        return np.array(keys, float)
    names = [schema.show(choice) for choice in dimension.choices]
    rotation = 20 if max(map(len, names)) > 8 else 0
    axes.set_xticks(range(len(names)), [short_label(name) for name in names], rotation=rotation, parse_math=False)
    axes.set_xlim(-0.5, len(names) - 0.5)
    return np.array([names.index(schema.show(key)) for key in keys], float)


def _key(dimension: Dimension, values: Mapping[str, Any]) -> Any:
    if isinstance(dimension.values, Range):
        return values[dimension.names[0]]
    return dimension.label(tuple(values[name] for name in dimension.names))


def _importance_panel(axes: Axes, importances: Mapping[str, float]) -> None:
    names = list(importances)[::-1]
    axes.barh(names, [importances[name] for name in names], color=COLOURS[2])
    axes.set_xlabel("importance (PED-ANOVA), a share of 1")
    axes.set_xlim(0.0, 1.0)
    axes.spines[["top", "right"]].set_visible(False)


def learning_curves(results: Sequence[PointResult], *, label: str) -> Figure:
    """Draw the score after each evaluation: the mean over the seeds of a point, shaded from least to most.

    Args:
        results: the best first; their curves are drawn in front.
        label: name and unit of the score.
    """
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for rank, result in reversed(list(enumerate(results))):
        curves = [dict(map(tuple, lane["curve"])) for lane in result.lanes]
        steps = sorted(set.intersection(*map(set, curves))) if curves else []
        if not steps:
            continue
        values = np.array([[curve[step] for step in steps] for curve in curves], float)
        front = rank < COLOURED
        colour = COLOURS[rank % len(COLOURS)] if front else "0.75"
        name = f"trial {result.point}" if front else None
        style = {"marker": "o", "markersize": 3} if len(steps) < 30 else {}
        axes.plot(steps, values.mean(axis=0), color=colour, linewidth=1.6 if front else 0.8, label=name, **style)
        if len(curves) > 1:
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("step (updates)")
    axes.set_ylabel(label)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles[::-1], names[::-1], frameon=False, fontsize=8)
    return figure
