"""A comparison on the terminal: the settings that differ, the scores side by side, the means over seeds."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from experiments.comparing.comparison import Differing, Side
from experiments.comparing.metric_units import metric_of
from experiments.comparing.results import Result
from experiments.comparing.statistics import Estimate, as_text, number
from transformer import schema

NONE = "-"
BETTER = {"max": "higher", "min": "lower"}
Rows = Sequence[tuple[str, str]]
"""(split, metric)."""


def settings_table(differing: Sequence[Differing], results: Sequence[Result]) -> Table:
    """One row for each setting that not all runs share, one column for each run."""
    table = _table("settings that differ", ["setting", *(result.name for result in results)])
    for row in differing:
        name = row.name if row.decides else f"{row.name} (cannot change the result)"
        _add(table, [name, *map(schema.show, row.values)])
    return table


def scores_table(rows: Rows, results: Sequence[Result]) -> Table:
    """The scores of the last evaluation; a run that lacks a metric has a dash, one that is not finished its step."""
    table = _table("scores at the end of each run", [*METRIC, *map(_heading, results)])
    for split, name in rows:
        values = [result.scores.get(split, {}).get(name) for result in results]
        _add(table, [*_metric(split, name), *(NONE if value is None else number(value) for value in values)])
    return table


def means_table(rows: Rows, sides: Sequence[Side]) -> Table:
    """Each side's mean over seeds, and behind it the differences of the others to the first, paired by seed."""
    first, *others = sides
    heads = [f"side {i}" for i in range(1, len(sides) + 1)]
    heads += [f"side {i} - side 1, paired by seed" for i in range(2, len(sides) + 1)]
    table = _table("means over seeds, ± their 95 % confidence intervals (Student's t)", [*METRIC, *heads])
    for split, name in rows:
        means = [side.mean(split, name) for side in sides]
        differences = [_difference(name, side.difference(first, split, name)) for side in others]
        said = [NONE if mean is None else as_text(mean) for mean in means]
        _add(table, [*_metric(split, name), *said, *differences])
    return table


def side_lines(sides: Sequence[Side]) -> list[str]:
    """What each side is: the settings that tell it from the others, and its runs."""
    lines = []
    for i, side in enumerate(sides, 1):
        told = [f"{name} = {schema.show(value)}" for name, value in side.settings.items()]
        what = ", ".join(told) or "no setting but the seed differs"
        runs = ", ".join(f"{result.name} (seed {result.seed})" for result in side.results)
        lines.append(f"side {i}: {what}; {runs}")
        if side.left_out:
            again = ", ".join(result.name for result in side.left_out)
            lines.append(f"  left out, since side {i} has its seed already: {again}")
    return lines


METRIC = ("split", "metric", "unit", "better")


def _metric(split: str, name: str) -> list[str]:
    """The cells of METRIC."""
    metric = metric_of(name)
    return [split, name, *((NONE, NONE) if metric is None else (metric.unit, BETTER[metric.mode]))]


def _heading(result: Result) -> str:
    return result.name if result.finished else f"{result.name}\nnot finished: step {result.step:,} of {result.steps:,}"


def _difference(name: str, found: Estimate | None) -> str:
    """A difference to the first side, and whether its interval excludes 0."""
    if found is None:
        return NONE
    if not found.count and not found.diverged:
        return "no seed in both"
    text = as_text(found, signed=True)
    if found.excludes_zero is None:
        return text
    if not found.excludes_zero:
        return f"{text}, includes 0"
    metric = metric_of(name)
    verdict = "" if metric is None else ": better" if (found.mean > 0) == (metric.mode == "max") else ": worse"
    return f"{text}, excludes 0{verdict}"


def _table(title: str, heads: Iterable[str]) -> Table:
    """An empty table; what is too long for the terminal goes on in the next line, and is not cut off."""
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(Text(head), overflow="fold")
    return table


def _add(table: Table, cells: Iterable[str]) -> None:
    table.add_row(*map(Text, cells))
