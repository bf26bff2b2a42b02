"""A comparison on the terminal: the settings that differ, the scores side by side, the means over seeds."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from experiments.cli.terminal import terminal
from experiments.comparing.comparison import DATA, Differing, Group, differing, group_runs, rows
from experiments.comparing.metric_units import BETTER, metric_of
from experiments.comparing.results import Result, units_of
from experiments.comparing.statistics import Estimate, as_text, number
from experiments.tasks.task import Metric
from experiments.training.progress import print_line
from experiments.training.tables import add, print_table, short_names, text_table
from transformer import schema
from transformer.errors import counted

NONE = "-"
Rows = Sequence[tuple[str, str]]
"""(split, metric) of each row."""
OTHER_DATA = "the runs read different data, so their scores are of different data; see the fingerprints"
METRIC = ("split", "metric", "unit", "better")
"""Headings of the columns that name a score."""


def print_comparison(results: Sequence[Result]) -> None:
    """Print the settings that differ, the scores, and the means over seeds; warn of different data."""
    console = terminal()
    changes = differing(results)
    if any(row.name == DATA for row in changes):
        print(f"warning: {OTHER_DATA}", file=sys.stderr)
    if changes:
        print_table(console, settings_table(changes, results))
    else:
        print_line(console, "no setting differs")
    print_table(console, scores_table(rows(results), results))
    print_table(console, costs_table(results))
    print_means(console, results)


def print_means(console: Console, results: Sequence[Result]) -> None:
    """Print the means over the seeds of finished runs, where a group has several."""
    finished = [result for result in results if result.finished]
    groups = group_runs(finished) if finished else []
    if not any(len(group.results) > 1 for group in groups):
        print_line(console, "no means over seeds: no two finished runs differ in their seed alone")
        return
    left_out = [result.name for result in results if not result.finished]
    if left_out:
        print_line(console, f"not finished (going on, stopped or diverged), so in no mean: {', '.join(left_out)}")
    for line in group_lines(groups):
        print_line(console, line)
    print_table(console, means_table(rows(finished), groups))


def settings_table(changes: Sequence[Differing], results: Sequence[Result]) -> Table:
    """Build a table with one row for each setting that not all runs share, one column for each run."""
    table = text_table("settings that differ", ["setting", *_short(results)])
    for row in changes:
        name = row.name if row.decides else f"{row.name} (cannot change the result)"
        add(table, [name, *map(schema.show, row.values)])
    return table


def scores_table(scores: Rows, results: Sequence[Result]) -> Table:
    """Build the table of last scores: a dash where a run lacks the metric, the step of a run that is not finished."""
    table = text_table("scores at the end of each run", [*METRIC, *map(_heading, results, _short(results))])
    units = units_of(results)
    for split, name in scores:
        values = [result.scores.get(split, {}).get(name) for result in results]
        add(table, [*_metric(split, name, units), *(NONE if value is None else number(value) for value in values)])
    return table


def costs_table(results: Sequence[Result]) -> Table:
    """Build the table of what each run costs: a dash where a run of an earlier version did not write it."""
    table = text_table("costs of each run", ["cost", *_short(results)])
    known = [result.costs for result in results]
    add(table, ["parameters", *(NONE if costs is None else f"{costs.parameters:,}" for costs in known)])
    operations = [NONE if costs is None else f"{costs.operations / 1e6:,.1f}" for costs in known]
    add(table, ["MFLOPs of matrix products per example and step", *operations])
    add(table, ["seconds from the start to the last line of metrics", *map(_seconds, results)])
    return table


def _seconds(result: Result) -> str:
    """Format the running time; lanes of one program have it in common."""
    others = 0 if result.costs is None else result.costs.lanes - 1
    return f"{result.seconds:,.1f}" + (f", beside {counted(others, 'other trial')}" if others else "")


def means_table(scores: Rows, groups: Sequence[Group]) -> Table:
    """Build the table of each group's mean over seeds, then of its difference to the first group, paired by seed."""
    first, *others = groups
    heads = [f"group {i}" for i in range(1, len(groups) + 1)]
    heads += [f"group {i} - group 1, paired by seed" for i in range(2, len(groups) + 1)]
    kind = "confidence intervals (Student's t, inside the range of the score)"
    table = text_table(f"means over seeds, ± their 95 % {kind}", [*METRIC, *heads])
    units = units_of(result for group in groups for result in group.results)
    for split, name in scores:
        means = [group.mean(split, name) for group in groups]
        differences = [_difference(name, units, group.difference(first, split, name)) for group in others]
        texts = [NONE if mean is None else as_text(mean) for mean in means]
        add(table, [*_metric(split, name, units), *texts, *differences])
    return table


def group_lines(groups: Sequence[Group]) -> list[str]:
    """Describe each group in a line: the settings in which it differs from the others, and its runs."""
    lines = []
    for i, group in enumerate(groups, 1):
        values = [f"{name} = {schema.show(value)}" for name, value in group.settings.items()]
        what = ", ".join(values) or "no setting but the seed differs"
        runs = ", ".join(f"{result.name} (seed {result.seed})" for result in group.results)
        lines.append(f"group {i}: {what}; {runs}")
        if group.left_out:
            again = ", ".join(result.name for result in group.left_out)
            lines.append(f"  left out, since group {i} has its seed already: {again}")
    return lines


def _metric(split: str, name: str, units: Mapping[str, Metric]) -> list[str]:
    """Return the cells under METRIC."""
    metric = metric_of(name, units)
    return [split, name, *((NONE, NONE) if metric is None else (metric.unit, BETTER[metric.mode]))]


def _short(results: Sequence[Result]) -> list[str]:
    """Return the shortest distinct end of each run's path."""
    return short_names([result.name for result in results], "/")


def _heading(result: Result, name: str) -> str:
    if result.diverged is not None:
        return f"{name}\ndiverged at step {result.diverged:,}"
    return name if result.finished else f"{name}\nnot finished: step {result.step:,} of {result.steps:,}"


def _difference(name: str, units: Mapping[str, Metric], found: Estimate | None) -> str:
    """Format a difference to the first group, and whether its interval excludes 0."""
    if found is None:
        return NONE
    if not found.count and not found.diverged:
        return "no common seed"
    text = as_text(found, signed=True)
    if found.excludes_zero is None:
        return text
    if not found.excludes_zero:
        return f"{text}, includes 0"
    metric = metric_of(name, units)
    verdict = "" if metric is None else ": better" if (found.mean > 0) == (metric.mode == "max") else ": worse"
    return f"{text}, excludes 0{verdict}"
