"""Figures as functions of arrays: curves of a run, maps of attention weights, confusions of labels.

They return a `matplotlib.figure.Figure` and touch no global state of matplotlib; `figure.savefig(path)` writes one.
Matplotlib is an extra, so nothing in `transformer` imports this module.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which can be told apart whatever the eye; the map
of weights is viridis, whose lightness grows evenly.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from jax import Array
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from transformer.axes import check_shape
from transformer.errors import problem
from transformer.inspection.layout import (
    CELL,
    LETTER,
    label_step,
    lay_out,
    lay_out_square,
    short_label,
    shown_line,
)
from transformer.inspection.placing import add_axes, place

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("", "o", "s", "^", "D", "v", "P")
VISIBLE = {" ": "␣", "\u00a0": "⍽", "\u202f": "⍽", "\u3000": "␣", "\n": "↵", "\t": "⇥"}
"""Characters that leave no mark -> the signs drawn for them; ⍽ is a space where no line may break."""

PANEL, LARGE_CELL = 1.2, 0.6
"""Width and height that a panel of few tokens has where its cells need not be larger than this (inches)."""

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
            percent_axis(all_axes[1])
    all_axes[-1].set_xlabel("step (updates)")
    if names:
        lines = {line.get_label(): line for axes in all_axes for line in axes.get_lines()}
        all_axes[0].legend(lines.values(), lines.keys(), frameon=False)
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def percent_axis(axes: Axes, *, whole: bool = True) -> None:
    """Show shares in percent on a scale with room below 0, so that a line there is not under the frame.

    Args:
        axes: those on which the shares are drawn.
        whole: show 0 to 100 %; otherwise the part that the shares are in, unless all are equal.
    """
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100.0 * share:.6g}%"))
    low, high = axes.get_ylim() if not whole and axes.dataLim.height > 0.0 else (-0.02, 1.04)
    axes.set_ylim(max(low, -0.02), min(high, 1.04))


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

    A figure has at most `layout.LARGEST` inches: many tokens have smaller cells and fewer labels; of very many, the
    first are drawn, as the title then states.

    Args:
        weights_NTS: attention weights; rows add up to 1, or to 0 for a query that may see no key, or to less where the
            query attends to keys that are not among these.
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
    check_shape("weights_NTS", weights_NTS, "N T S", {})
    heads, T, S = weights_NTS.shape
    for what, tokens, expected in (("query_tokens", query_tokens, T), ("key_tokens", key_tokens, S)):
        if len(tokens) != expected:
            raise problem(f"{what} do not fit the weights", got=f"{len(tokens)} tokens", expected=expected)
    if not heads * T * S:
        raise problem("there are no weights to draw", got=f"N T S = {heads} {T} {S}", expected="at least one of each")
    queries, keys = ([short_label(token_label(token)) for token in tokens] for tokens in (query_tokens, key_tokens))
    letters = (_letters(queries) + _letters_up_to_panel(S), _letters(keys) + _letters_up_to_panel(T))
    layout = lay_out(heads + (heads > 1), T, S, letters)
    cell = max(CELL, min(LARGE_CELL, PANEL / max(T, S))) if layout.cell == CELL else layout.cell
    queries, keys = queries[: layout.queries], keys[: layout.keys]
    left_out = [*shown_line("queries", len(queries), T), *shown_line("keys", len(keys), S)]
    title = "\n".join(part for part in (title, ", ".join(left_out)) if part)
    weights_NTS = weights_NTS[:, : len(queries), : len(keys)]
    panels = [(f"head {n}", weights_NTS[n]) for n in range(heads)] if layout.panels >= heads else []
    panels += [("mean of the heads", weights_NTS.mean(0))] if heads > 1 else []
    figure, size = Figure(), (len(keys) * cell, len(queries) * cell)
    top = float(np.nanmax(weights_NTS, initial=0.0)) or 1.0
    all_axes = []
    for number, (name, weights_TS) in enumerate(panels):
        axes = add_axes(figure, size)
        image = axes.imshow(weights_TS, cmap="viridis", vmin=0.0, vmax=top, aspect="equal", interpolation="nearest")
        axes.set_title(name, fontsize=9, loc="left")
        _tick_tokens(axes, queries, keys, font_family, cell)
        if number % layout.columns == 0:
            axes.set_ylabel(query_label, fontsize=9)
        if number + layout.columns >= len(panels):
            axes.set_xlabel(key_label, fontsize=9)
        all_axes.append(axes)
    bar = figure.colorbar(image, cax=figure.add_axes((0, 0, 1, 1)))
    bar.set_label("weight", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    place(figure, all_axes, layout.columns, size, bar.ax, title, font_family)
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
    left out where there are more than 25 labels. A figure has at most `layout.LARGEST` inches, as `attention_maps`.

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
    names = [short_label(label) for label in labels]
    letters = _letters(names)
    cell, shown = lay_out_square(len(names), letters)
    title = "\n".join(part for part in (title, *shown_line("labels", shown, len(names))) if part)
    shares, step = shares[:shown, :shown], label_step(cell, 0.1)
    figure, size = Figure(), (cell * shown, cell * shown)
    axes = add_axes(figure, size)
    image = axes.imshow(shares, cmap="viridis", vmin=0.0, vmax=1.0, interpolation="nearest")
    style = {"fontsize": 8 if len(labels) <= 25 else 6, "fontfamily": font_family, "parse_math": False}
    axes.set_xticks(range(0, shown, step), names[:shown:step], rotation=90, minor=False, **style)
    axes.set_yticks(range(0, shown, step), names[:shown:step], minor=False, **style)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    for (row, column), count in np.ndenumerate(counts_CC) if len(labels) <= 25 else ():
        colour = "black" if shares[row, column] > 0.6 else "white"
        axes.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(image, cax=figure.add_axes((0, 0, 1, 1)))
    bar.set_label("share of the true label's examples" if size[1] > 4.0 else "share of the true\nlabel's examples")
    place(figure, [axes], 1, size, bar.ax, title)
    return figure


def _letters(labels: Sequence[str]) -> int:
    """Return the width of the longest label as a number of letters; a Chinese character is wider than a letter."""
    return math.ceil(max(map(_width, labels), default=0.0))


def _width(label: str) -> float:
    return sum(1.4 if unicodedata.east_asian_width(character) in "WF" else 1.0 for character in label)


def _letters_up_to_panel(tokens: int) -> int:
    """Return the number of letters by which a panel of few tokens is wider than its cells of the usual size."""
    return max(0, math.ceil((PANEL - tokens * CELL) / LETTER))


def _tick_tokens(
    axes: Axes, queries: Sequence[str], keys: Sequence[str], font_family: Sequence[str] | None, cell: float
) -> None:
    """Draw a tick for each token, or for some where cells are small; long ones stand upright."""
    style = {"fontsize": 8, "fontfamily": font_family, "parse_math": False}
    step = label_step(cell, 0.12)
    axes.set_xticks(range(0, len(keys), step), keys[::step], minor=False, **style)
    for label, token in zip(axes.get_xticklabels(), keys[::step], strict=True):
        label.set_rotation(90 if _width(token) > 2 or cell < CELL else 0)
    axes.set_yticks(range(0, len(queries), step), queries[::step], minor=False, **style)
    axes.tick_params(length=2, pad=2)


def token_label(token: str) -> str:
    """Return a token with a sign for each space and line break, and a circle under a combining mark."""
    shown = "".join(VISIBLE.get(character, character) for character in token)
    return "◌" + shown if shown and unicodedata.category(shown[0]) in ("Mn", "Me", "Mc") else shown
