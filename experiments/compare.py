"""The command that compares runs: settings that differ, scores, and means over the runs that differ in seed alone."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.flags import REQUIRED, parse, run
from experiments.comparing.comparison import refuse_other_objectives
from experiments.comparing.results import read_results
from experiments.comparing.tables import print_comparison
from transformer.schema import setting


@dataclasses.dataclass(frozen=True)
class CompareFlags:
    """Compare runs side by side: python -m experiments.compare runs/a runs/b runs/c

    The working directory of a sweep stands for its trials. Each run's parameters, operations and seconds are listed.

    Runs that differ in their seed alone form a group, whose scores have a mean and a confidence interval. The
    difference of two groups is taken seed by seed.
    """

    runs: tuple[str, ...] = setting(REQUIRED, "two or more working directories of trainings, or one of a sweep")


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, CompareFlags, overridable=False, words="runs")
    results = read_results(flags.runs)
    refuse_other_objectives(results)
    print_comparison(results)


if __name__ == "__main__":
    run(main)
