"""The pictures of a sweep: the score against each setting, the importance of each, and the learning curves.

A picture has one kind of spread, which its title names: 95 % confidence intervals where a trial has enough seeds for
one, otherwise the value of each seed.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from experiments.comparing.statistics import ENOUGH, LEVEL, Estimate, estimate
from experiments.sweeping.ranking import PointResult, Ranking, best
from experiments.sweeping.space import Dimension, Range, Space
from experiments.tasks.task import SHARE
from experiments.training.tables import short_names
from transformer import schema
from transformer.inspection.layout import short_label
from transformer.inspection.plots import COLOURS, percent_axis

COLOURED = 5
"""Curves of the best points that have a colour and a name; the others are grey."""

LABEL, NAME = 26, 20
"""Characters in a line of an axis' label, and of the name of a bar."""

NAMED, LONGEST_NAME, LEGEND = 10, 56, 90
"""Trials, at most, that are named by their settings alone; characters of such a name, and of a line of the legend."""

BEST, HALVED_NAME = "best", "stopped, worse half"
"""The names of marks in the legend."""

MOST_TICKS = 5
"""Ticks of a logarithmic axis, whose labels then stand apart."""


def against_settings(
    results: Sequence[PointResult],
    space: Space,
    importances: Mapping[str, float],
    scores: Mapping[str, Sequence[Estimate]],
    *,
    metric: str,
) -> Figure:
    """Draw the scores of each point against each dimension, with their spread, and each dimension's importance.

    Args:
        results: the best first.
        scores: name and unit of a score -> its estimate for each of `results`; a row of panels each.
        metric: name of the score that the importances explain.
    """
    columns = len(space.dimensions) + bool(importances)
    figure = Figure(figsize=(1.0 + 3.6 * columns, 0.4 + 2.9 * len(scores)), layout="constrained")
    all_axes = figure.subplots(len(scores), columns, squeeze=False)
    intervals = with_intervals(results)
    names = dict(zip([d.name for d in space.dimensions], _short_names(space), strict=True))
    for axes_of_row, (label, estimates) in zip(all_axes, scores.items(), strict=True):
        for axes, dimension in zip(axes_of_row, space.dimensions, strict=False):
            _score_panel(axes, dimension, results, estimates, intervals)
            if all(one.bounds == SHARE for one in estimates):
                percent_axis(axes, whole=False)
            axes.set_xlabel(textwrap.fill(names[dimension.name], LABEL))
        name, unit = label.split(" (", 1) if " (" in label else (label, "")
        axes_of_row[0].set_ylabel(textwrap.fill(name, LABEL) + (unit and "\n" + textwrap.fill(f"({unit}", LABEL)))
    if importances:
        _importance_panel(all_axes[0, -1], {names[name]: share for name, share in importances.items()}, metric)
        for axes in all_axes[1:, -1]:
            axes.set_visible(False)
    lines = [line for axes in all_axes[0] for line in axes.get_lines()]
    marks = {line.get_label(): line for line in lines if line.get_label() in (BEST, HALVED_NAME)}
    if marks:
        figure.legend(marks.values(), marks.keys(), loc="outside lower right", ncols=2, frameon=False, fontsize=8)
    figure.suptitle(textwrap.fill(spread_in_words(results, "bars"), 40 * columns), fontsize=9)
    return figure


def with_intervals(results: Sequence[PointResult]) -> bool:
    """Return whether a picture of these results has intervals: whether a trial has enough seeds for one."""
    return any(len(result.lanes) >= ENOUGH for result in results)


def spread_in_words(results: Sequence[PointResult], drawn: str) -> str:
    """Describe the one kind of spread in a picture.

    Args:
        drawn: the form of the intervals, such as "bars".
    """
    seeds = max((len(result.lanes) for result in results), default=0)
    if with_intervals(results):
        return (
            f"means over {seeds} seeds, {drawn}: {LEVEL:.0%} confidence intervals (Student's t), from {ENOUGH} seeds on"
        )
    return f"means over {seeds} seeds, small: each seed" if seeds > 1 else "one seed for each trial"


def _short_names(space: Space) -> list[str]:
    """Return the names of the dimensions with the shortest distinct end of each setting."""
    settings = list(dict.fromkeys(name for dimension in space.dimensions for name in dimension.names))
    short = dict(zip(settings, short_names(settings), strict=True))
    found = []
    for dimension in space.dimensions:
        condition = dimension.name.partition("@")[2]
        name = " + ".join(short[name] for name in dimension.names)
        found.append(f"{name} where {condition}" if condition else name)
    return found


def _score_panel(
    axes: Axes,
    dimension: Dimension,
    results: Sequence[PointResult],
    estimates: Sequence[Estimate],
    intervals: bool,
) -> None:
    shown = [
        (result, estimate)
        for result, estimate in zip(results, estimates, strict=True)
        if all(name in result.values for name in dimension.names) and math.isfinite(estimate.mean)
    ]
    keys = [_key(dimension, result.values) for result, _ in shown]
    x = _positions(axes, dimension, keys)
    mean = np.array([estimate.mean for _, estimate in shown])
    halved = np.array([result.halved for result, _ in shown], bool)
    style = {"color": COLOURS[0], "markersize": 4, "linestyle": ""}
    if (~halved).any():
        axes.plot(x[~halved], mean[~halved], marker="o", **style)
    if halved.any():
        axes.plot(x[halved], mean[halved], marker="x", alpha=0.6, label=HALVED_NAME, **style)
    for at, (_, one) in zip(x, shown, strict=True):
        if intervals and one.interval is not None:
            axes.vlines(at, *one.interval, color=COLOURS[0], linewidth=0.8)
        elif not intervals and one.count > 1:
            axes.plot([at] * one.count, one.values, "_", color=COLOURS[0], markersize=5, alpha=0.7)
    first = best(results)
    starred = np.array([result is first for result, _ in shown], bool)
    if starred.any():
        axes.plot(x[starred], mean[starred], "*", color=COLOURS[1], markersize=12, label=BEST, clip_on=False)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _positions(axes: Axes, dimension: Dimension, keys: Sequence[Any]) -> np.ndarray:
    """Return the place of each value on the axis: numbers of a range at their value, choices side by side."""
    if isinstance(dimension.values, Range):
        if dimension.values.log:
            low, high = map(float, dimension.values.ends)
            margin = (high / low) ** 0.04
            axes.set_xscale("log")
            axes.set_xlim(low / margin, high * margin)
            axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        return np.array(keys, float)
    names = [schema.show(choice) for choice in dimension.choices]
    crowded = sum(map(len, names)) + 2 * len(names) > LABEL
    axes.set_xticks(
        range(len(names)),
        [short_label(name) for name in names],
        rotation=35 if crowded else 0,
        ha="right" if crowded else "center",
        parse_math=False,
    )
    axes.set_xlim(-0.5, len(names) - 0.5)
    return np.array([names.index(schema.show(key)) for key in keys], float)


def _key(dimension: Dimension, values: Mapping[str, Any]) -> Any:
    if isinstance(dimension.values, Range):
        return values[dimension.names[0]]
    return dimension.label(tuple(values[name] for name in dimension.names))


def log_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Choose round numbers between the ends of a logarithmic axis: 1, 2 and 5 of each decade, or as many as fit.

    Args:
        low: above 0.
        high: above `low`.
        most: number of ticks at most, 2 or more.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    slack = 1.0 + 1e-9
    for digits in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{digit}e{n}") for n in range(first, last + 1) for digit in digits]
        ticks = [tick for tick in ticks if low / slack <= tick <= high * slack]
        if 2 <= len(ticks) <= most:
            return ticks
        if len(ticks) < 2:
            return [float(f"{value:.3g}") for value in (low, high)]
    every = math.ceil(len(ticks) / most)
    return ticks[::every]


def _importance_panel(axes: Axes, importances: Mapping[str, float], metric: str) -> None:
    names = list(importances)[::-1]
    axes.barh([textwrap.fill(name, NAME) for name in names], [importances[name] for name in names], color=COLOURS[2])
    axes.set_xlabel(
        textwrap.fill(f"importance for {metric} (PED-ANOVA), a share of 1", LABEL + 6, break_on_hyphens=False)
    )
    axes.set_xlim(0.0, 1.0)
    axes.spines[["top", "right"]].set_visible(False)


def learning_curves(results: Sequence[PointResult], ranking: Ranking) -> Figure:
    """Draw the score after each evaluation: the mean over the seeds of a point, with its spread.

    Args:
        results: the best first; their curves are drawn in front.
        ranking: the score.
    """
    intervals = with_intervals(results)
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    names = trial_names(results)
    for rank, result in reversed(list(enumerate(results))):
        curves = [dict(map(tuple, lane["curve"])) for lane in result.lanes]
        steps = sorted(set.intersection(*map(set, curves))) if curves else []
        if not steps:
            continue
        values = np.array([[curve[step] for step in steps] for curve in curves], float)
        front = rank < COLOURED
        colour = COLOURS[rank % len(COLOURS)] if front else "0.75"
        name = names[rank] if front else None
        style = {"marker": "o", "markersize": 3} if len(steps) < 30 else {}
        axes.plot(steps, values.mean(axis=0), color=colour, linewidth=1.6 if front else 0.8, label=name, **style)
        if intervals:
            bands = [estimate(column, bounds=ranking.score.bounds).interval or (math.nan,) * 2 for column in values.T]
            axes.fill_between(steps, *np.transpose(bands), color=colour, alpha=0.15, linewidth=0)
        elif len(curves) > 1:
            axes.plot(steps, values.T, color=colour, linewidth=0.5, alpha=0.6)
    axes.set_xlabel("step (updates)")
    axes.set_ylabel(textwrap.fill(f"validation {ranking.label}", 2 * LABEL))
    axes.set_title(spread_in_words(results, "bands").replace("small:", "thin:"), fontsize=9)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if ranking.score.bounds == SHARE:
        percent_axis(axes)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        columns = max(1, min(len(names), LEGEND // (max(map(len, names)) + 8)))
        style = {"loc": "outside lower center", "frameon": False, "fontsize": 8}
        legend = figure.legend(handles[::-1], names[::-1], ncols=columns, **style)
        for text in legend.get_texts():
            text.set_parse_math(False)
        figure.set_figheight(4.2 + 0.17 * math.ceil(len(names) / columns))
    return figure


def trial_names(results: Sequence[PointResult]) -> list[str]:
    """Name each trial by the settings in which the trials differ: "norm = rms, learning_rate = 0.001".

    Many trials, and those whose settings are long or not distinct, have their number, and as much of their settings as
    there is room for.
    """
    settings = list(dict.fromkeys(name for result in results for name in result.values))
    short = dict(zip(settings, short_names(settings), strict=True))
    shown = [{name: _shown(value) for name, value in result.values.items()} for result in results]
    varied = [name for name in settings if len({values.get(name) for values in shown}) > 1]
    names = [", ".join(f"{short[name]} = {own[name]}" for name in varied if name in own) for own in shown]
    if len(results) <= NAMED and len({*names} - {""}) == len(names) and max(map(len, names), default=0) <= LONGEST_NAME:
        return names
    numbered = [": ".join(filter(None, (f"trial {r.point}", name))) for r, name in zip(results, names, strict=True)]
    return [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in numbered]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else schema.show(value)
