"""Figures as functions of arrays: curves of a run, maps of attention weights, confusions of labels.

They return a `matplotlib.figure.Figure` and touch no global state of matplotlib; `figure.savefig(path)` writes one.
Matplotlib is an extra, so nothing in `transformer` imports this module.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which can be told apart whatever the eye; the map
of weights is viridis, whose lightness grows evenly.
"""

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from jax import Array
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from transformer.axes import check_shape
from transformer.errors import problem

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("", "o", "s", "^", "D", "v", "P")
VISIBLE = {" ": "␣", "\u00a0": "⍽", "\u202f": "⍽", "\u3000": "␣", "\n": "↵", "\t": "⇥"}
"""Characters that leave no mark -> the signs drawn for them; ⍽ is a space where no line may break."""

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Names of curves -> (steps, values)."""


def curves(
    loss: Series,
    score: Series | None = None,
    *,
    loss_label: str = "loss (nats per token)",
    score_label: str = "exact match (% of examples)",
    title: str = "",
) -> Figure:
    """Draw the loss over steps, and below it a score if there is one.

    Args:
        loss: drawn on a logarithmic axis, which shows late progress.
        score: fractions from 0 to 1 are shown in percent on a full scale, others as they are.
        loss_label: name and unit of the loss.
        score_label: name and unit of the score.
        title: above the figure.
    """
    panels = [loss] if not score else [loss, score]
    figure = Figure(figsize=(7.0, 0.6 + 2.6 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    names = list(dict.fromkeys(name for panel in panels for name in panel))
    for axes, panel in zip(all_axes, panels, strict=True):
        for name, (steps, values) in panel.items():
            _draw_curve(axes, names.index(name), name, steps, values)
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    _loss_axis(all_axes[0], loss, loss_label)
    if score:
        all_axes[1].set_ylabel(score_label)
        if all(0.0 <= value <= 1.0 for _, values in score.values() for value in values):
            all_axes[1].yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
            all_axes[1].set_ylim(0.0, 1.04)
    all_axes[-1].set_xlabel("step (updates)")
    if names:
        lines = {line.get_label(): line for axes in all_axes for line in axes.get_lines()}
        all_axes[0].legend(lines.values(), lines.keys(), frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _draw_curve(axes: Axes, number: int, name: str, steps: Sequence[float], values: Sequence[float]) -> None:
    """Draw one curve: the first as a thin line, the others with markers while they have few points."""
    marker = MARKERS[number % len(MARKERS)] if len(steps) <= 60 else ""
    axes.plot(
        np.asarray(steps, float),
        np.asarray(values, float),
        label=name,
        color=COLOURS[number % len(COLOURS)],
        marker=marker or ("." if len(steps) == 1 else None),  # a line through one point has no length
        markersize=4.5,
        linewidth=1.2 if number == 0 else 1.6,
    )


def _loss_axis(axes: Axes, loss: Series, label: str) -> None:
    """Make the axis logarithmic, with plain numbers, unless a value is not above 0."""
    axes.set_ylabel(label)
    values = np.concatenate([np.asarray(v, float) for _, v in loss.values()] or [np.empty(0)])
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() <= 0.0:
        return
    axes.set_yscale("log")
    wide = finite.max() / finite.min() > 1000.0
    axes.yaxis.set_major_locator(LogLocator(10.0, subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def attention_maps(
    weights_NTS: Float[Array | np.ndarray, "N T S"],
    query_tokens: Sequence[str],
    key_tokens: Sequence[str],
    title: str = "",
    *,
    query_label: str = "query (target)",
    key_label: str = "key (source)",
    font_family: Sequence[str] | None = None,
) -> Figure:
    """Draw a panel for each head and one for their mean, all on one scale: queries are rows, keys are columns.

    Args:
        weights_NTS: attention weights; rows add up to 1, or to 0 for a query that may see no key.
        query_tokens: T texts, usually characters.
        key_tokens: S texts.
        title: above the figure.
        query_label: label of the rows.
        key_label: label of the columns.
        font_family: fonts, in order of preference, that cover the tokens; None: matplotlib's default.

    Raises:
        UserError: weights of other axes, or the tokens are not as many as the weights have rows and columns.
    """
    weights_NTS = np.asarray(weights_NTS, np.float32)
    check_shape("weights", weights_NTS, "N T S", {})
    heads, T, S = weights_NTS.shape
    for what, tokens, expected in (("query_tokens", query_tokens, T), ("key_tokens", key_tokens, S)):
        if len(tokens) != expected:
            raise problem(f"{what} do not fit the weights", got=f"{len(tokens)} tokens", expected=expected)
    if not heads * T * S:
        raise problem("there are no weights to draw", got=f"N T S = {heads} {T} {S}", expected="at least one of each")
    panels = [(f"head {n}", weights_NTS[n]) for n in range(heads)]
    panels += [("mean of the heads", weights_NTS.mean(0))] if heads > 1 else []
    figure, grid = _grid(len(panels), T, S, [*query_tokens], [*key_tokens])
    top = float(np.nanmax(weights_NTS, initial=0.0)) or 1.0
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (name, weights_TS) in zip(grid.flat, panels, strict=False):
        image = axes.imshow(weights_TS, cmap="viridis", vmin=0.0, vmax=top, aspect="equal", interpolation="nearest")
        axes.set_title(name, fontsize=9, loc="left")
        _tick_tokens(axes, query_tokens, key_tokens, font_family)
    for axes in grid[:, 0]:
        axes.set_ylabel(query_label, fontsize=9)
    for column in range(grid.shape[1]):
        lowest = max(n for n in range(len(panels)) if n % grid.shape[1] == column)
        grid.flat[lowest].set_xlabel(key_label, fontsize=9)
    thickness = 0.15 / figure.get_figheight()
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), fraction=0.05, shrink=0.8, aspect=0.8 / thickness, pad=0.01)
    bar.set_label("weight", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if title:
        figure.suptitle(title, fontsize=10, fontfamily=font_family, parse_math=False)
    return figure


def confusion(
    counts_CC: Int[np.ndarray, "C C"],
    labels: Sequence[str],
    *,
    title: str = "",
    font_family: Sequence[str] | None = None,
) -> Figure:
    """Draw a confusion matrix: row i, column j is the number of examples of label i that were predicted as j.

    Colours are shares of the row, so that rare labels show as well as frequent ones; the numbers are counts, which are
    left out where there are more than 25 labels.

    Args:
        counts_CC: true labels by rows, predicted ones by columns.
        labels: C names.
        title: above the figure.
        font_family: fonts, in order of preference, that cover the labels; None: matplotlib's default.

    Raises:
        UserError: the labels are not as many as the counts have rows.
    """
    counts_CC = np.asarray(counts_CC)
    if counts_CC.shape != (len(labels), len(labels)):
        raise problem("counts do not fit the labels", got=f"shape {counts_CC.shape}", expected=f"{len(labels)} labels")
    shares = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    cell = 0.5 if len(labels) <= 25 else 0.2  # inches
    margin = 0.9 + 0.085 * max(map(len, labels), default=0)
    figure = Figure(figsize=(cell * len(labels) + margin + 1.0, cell * len(labels) + margin), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="viridis", vmin=0.0, vmax=1.0, interpolation="nearest")
    style = {"fontsize": 8 if len(labels) <= 25 else 6, "fontfamily": font_family, "parse_math": False}
    axes.set_xticks(range(len(labels)), labels, rotation=90, minor=False, **style)
    axes.set_yticks(range(len(labels)), labels, minor=False, **style)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    for (row, column), count in np.ndenumerate(counts_CC) if len(labels) <= 25 else ():
        colour = "black" if shares[row, column] > 0.6 else "white"
        axes.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true label's examples")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _grid(panels: int, T: int, S: int, query_tokens: list[str], key_tokens: list[str]) -> tuple[Figure, np.ndarray]:
    """Make a figure whose cells have room for a character each, at most about 15 inches wide."""
    cell, letter = 0.165, 0.085  # inches
    width = S * cell + 0.45 + letter * max(map(len, query_tokens))
    height = T * cell + 0.45 + letter * max(map(len, key_tokens))
    columns = max(1, min(panels, int(15.0 // width)))
    rows = -(-panels // columns)
    columns = -(-panels // rows)  # no emptier than need be: 5 panels in 2 rows are 3 and 2, not 4 and 1
    figure = Figure(figsize=(columns * width + 0.9, rows * height + 0.5), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _tick_tokens(
    axes: Axes, query_tokens: Sequence[str], key_tokens: Sequence[str], font_family: Sequence[str] | None
) -> None:
    """Draw a tick for each token; long ones stand upright."""
    style = {"fontsize": 8, "fontfamily": font_family, "parse_math": False}
    axes.set_xticks(range(len(key_tokens)), [token_label(t) for t in key_tokens], minor=False, **style)
    for label, token in zip(axes.get_xticklabels(), key_tokens, strict=True):
        label.set_rotation(90 if len(token) > 2 else 0)
    axes.set_yticks(range(len(query_tokens)), [token_label(t) for t in query_tokens], minor=False, **style)
    axes.tick_params(length=2, pad=2)


def token_label(token: str) -> str:
    """Return a token with a sign for each space and line break, and a circle under a combining mark."""
    shown = "".join(VISIBLE.get(character, character) for character in token)
    return "◌" + shown if shown and unicodedata.category(shown[0]) in ("Mn", "Me", "Mc") else shown
