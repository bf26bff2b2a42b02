"""Sets runs side by side: what differs in their settings, their scores, and the means of those that differ in seed."""

import dataclasses
import sys
from collections.abc import Sequence

from rich.console import Console

from experiments.cli.flags import REQUIRED, parse, run
from experiments.comparing.comparison import DATA, differing, refuse_other_objectives, rows, sides
from experiments.comparing.results import Result, read_results
from experiments.comparing.tables import means_table, scores_table, settings_table, side_lines
from experiments.training.progress import print_line
from transformer.schema import setting

WIDE = 10_000
"""Characters of a line where nobody looks at a terminal: a file or another program takes a table as wide as it is."""


@dataclasses.dataclass(frozen=True)
class CompareFlags:
    """Sets runs side by side: python -m experiments.compare runs/a runs/b runs/c

    Runs that differ in their seed alone are one side, whose scores have a mean and a confidence interval. The
    difference of two sides is taken seed by seed.
    """

    runs: tuple[str, ...] = setting(REQUIRED, "working directories of trainings, two or more")


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, CompareFlags, overridable=False, words="runs")
    results = read_results(flags.runs)
    refuse_other_objectives(results)
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=WIDE)
    changes = differing(results)
    if any(row.name == DATA for row in changes):
        line = "the runs read different data, so their scores are of different data; see the fingerprints"
        print(f"warning: {line}", file=sys.stderr)
    if changes:
        console.print(settings_table(changes, results))
    else:
        print_line(console, "no setting differs")
    console.print(scores_table(rows(results), results))
    show_means(console, results)


def show_means(console: Console, results: Sequence[Result]) -> None:
    """The means over the seeds of finished runs, where a side has several."""
    finished = [result for result in results if result.finished]
    found = sides(finished) if finished else []
    if not any(len(side.results) > 1 for side in found):
        print_line(console, "no means over seeds: no two finished runs differ in their seed alone")
        return
    left_out = [result.name for result in results if not result.finished]
    if left_out:
        print_line(console, f"not finished (going on, stopped or diverged), so in no mean: {', '.join(left_out)}")
    for line in side_lines(found):
        print_line(console, line)
    console.print(means_table(rows(finished), found))


if __name__ == "__main__":
    run(main)
