"""The figure of a trained study's decisions: each case's advantage with its intervals, and loss against learning rate.

thick line     interval over seeds, at the level of the look        dots        the seeds
thin line      interval over held-out items                         grey band   differences below the margin
"""

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.comparing.decision import AT_LEAST
from experiments.studies.frame.pictures import COLOURS, finish, marked

ROW = 0.34
"""Height of a case (inches)."""
SHORT, LONG = COLOURS[0], COLOURS[1]
LINE, MARK = 170, 10
"""Characters of a line of the legend, and those that the mark of an entry takes."""


def draw_differences(record: Mapping[str, Any], unit: str) -> Figure | None:
    """Draw the cases of a record's trained claims, and the losses by which rates were chosen; None without any.

    Args:
        unit: unit of those losses.
    """
    claims = [claim for claim in record["claims"] if any(case["numbers"].get("values") for case in claim["cases"])]
    if not claims:
        return None
    counts = [len(list(rows_of(claim))) for claim in claims]
    heights = [ROW * count + 0.9 for count in counts]
    figure = Figure(figsize=(11.0, max(sum(heights), 3.0) + 0.6), layout="constrained")
    grid = figure.add_gridspec(len(claims), 2, width_ratios=(1.6, 1.0), height_ratios=heights)
    for i, claim in enumerate(claims):
        draw_claim(figure.add_subplot(grid[i, 0]), claim, record["study"])
    trained = record["numbers"]["trained"]
    draw_rates(figure.add_subplot(grid[:, 1]), trained, unit)
    columns = min(max(LINE // (max(map(len, trained)) + MARK), 1), 5)
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=7)
    return figure


def rows_of(claim: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield (name, numbers, word) of each case and number of updates that was trained."""
    for case in claim["cases"]:
        numbers = case["numbers"]
        for part in (numbers, numbers.get("long", {})):
            if part.get("values"):
                name = f"{case['name'][0]}, {part['updates']:,}" if case["name"][0] else f"{part['updates']:,}"
                yield name, part, case["word"]


def draw_claim(axes: Axes, claim: Mapping[str, Any], study: str) -> None:
    """Draw the cases of a claim, one in a row."""
    names, shortest = [], min(part["updates"] for _, part, _ in rows_of(claim))
    for y, (name, part, word) in enumerate(rows_of(claim)):
        colour = SHORT if part["updates"] == shortest else LONG
        values = [float(value) for value in part["values"]]
        finite = [value for value in values if math.isfinite(value)]
        axes.plot(finite, [y] * len(finite), "o", color=colour, alpha=0.35, markersize=4, linewidth=0)
        if "low" in part:
            axes.plot([float(part["low"]), float(part["high"])], [y, y], color=colour, linewidth=3.0, alpha=0.8)
            if "items" in part:
                axes.plot(part["items"], [y + 0.22] * 2, color=colour, linewidth=1.0)
        names.append(f"{name}: {word}")
    first = next(rows_of(claim))[1]
    margin = first["margin"]
    if first["kind"] == AT_LEAST:
        axes.axvline(margin, color="black", linestyle=":", linewidth=1.0)
    else:
        axes.axvspan(-margin, margin, color="grey", alpha=0.2, linewidth=0)
        axes.axvline(0.0, color="black", linestyle=":", linewidth=1.0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    what = "score" if first["kind"] == AT_LEAST else "how much better"
    title = f"{study} {claim['number']}: {claim['said'][0]}"
    finish(axes, "\n".join(textwrap.wrap(title, 64)), f"{what} (margin {margin:g})", "")


def draw_rates(axes: Axes, trained: Mapping[str, Any], unit: str) -> None:
    """Draw the loss of each arm against its learning rate, on the seeds and batches by which the rate was chosen."""
    for i, (arm, row) in enumerate(trained.items()):
        rates = sorted((float(rate), float(loss)) for rate, loss in row["rates"].items())
        colour, marker = marked(i)
        axes.plot(*zip(*rates, strict=True), color=colour, marker=marker, markersize=4, label=arm)
        axes.plot([row["rate"]], [float(row["rates"][f"{row['rate']:g}"])], "o", color=colour, markersize=9, mfc="none")
    axes.set_xscale("log")
    finish(axes, "learning rate (ring: chosen)", "learning rate", f"held-out loss ({unit})")
