"""The command that compares runs: settings that differ, scores, means over seeds; and the decision of A against B."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.flags import REQUIRED, parse, run
from experiments.cli.table_output import write_table
from experiments.cli.terminal import terminal
from experiments.comparing.budget import UNITS
from experiments.comparing.comparison import refuse_other_objectives
from experiments.comparing.decision import BETTER, LOOKS, RISING
from experiments.comparing.results import SPLITS, read_results, read_sides
from experiments.comparing.table_rows import Row, comparison_rows, verdict_rows
from experiments.comparing.tables import print_comparison
from experiments.comparing.verdict import KINDS_OF_CLAIMS, Question, judge
from experiments.comparing.wording import result_lines, seeds_table, setting_lines
from experiments.storage.table_files import MEANING, TableFile
from experiments.training.progress import print_line
from experiments.training.tables import print_table
from transformer.errors import problem
from transformer.schema import above, not_empty, setting


@dataclasses.dataclass(frozen=True)
class CompareFlags:
    """Compare runs side by side: python -m experiments.compare runs/a runs/b runs/c

    The working directory of a sweep stands for its trials. Each run's parameters, operations and seconds are listed.

    Runs that differ in their seed alone form a group, whose scores have a mean and a confidence interval. The
    difference of two groups is taken seed by seed.

    With --against, the runs before it (A) are decided against those after it (B), seed by seed:

    python -m experiments.compare runs/rms-* --against runs/layer-* --metric=loss --margin=0.02

    The word is one of: holds, reversed, no difference, fails, undecided; fewer than 4 seeds are a preview. It is read
    at 4, 8 and 16 seeds, so that who adds seeds and looks again is wrong in at most 5 % of comparisons.
    """

    runs: tuple[str, ...] = setting(REQUIRED, "two or more working directories of trainings, or one of a sweep")
    against: tuple[str, ...] = setting(
        (), "runs of B, which those before the flag (A) are decided against; none: runs stand side by side"
    )
    metric: str | None = setting(None, "metric that decides; none: the one that selects the runs' best checkpoints")
    margin: float | None = setting(
        None,
        "least difference that matters, in the unit of the metric, chosen before the runs; none: an interval, no word",
        check=above(0.0),
    )
    kind: str = setting(
        BETTER,
        "claim about A and B: better, as_good (or worse by less than the margin), or equal (within the margin)",
        allowed=KINDS_OF_CLAIMS,
    )
    looks: tuple[int, ...] = setting(LOOKS, "numbers of seeds at which the word is read", check=RISING)
    split: str = setting("validation", "split whose scores decide", allowed=SPLITS)
    at: str | None = setting(
        None,
        "equal budget at which the curves are read: updates, operations of matrix products, or seconds; none: the ends",
        allowed=UNITS,
    )
    output: str | None = setting(None, MEANING, check=not_empty)


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, CompareFlags, overridable=False, words="runs")
    table = TableFile(flags.output)
    found = decide(flags) if flags.against else side_by_side(flags)
    write_table(table, found, "compare", argv)


def side_by_side(flags: CompareFlags) -> list[Row]:
    """Print runs side by side, and return the rows of the table for other programs.

    Raises:
        UserError: a flag that is not read, or runs that cannot be compared.
    """
    plain = CompareFlags(flags.runs)
    for name in ("margin", "metric", "kind", "looks", "split", "at"):
        if getattr(flags, name) != getattr(plain, name):
            do = f"Name the runs of A, then --against and the runs of B, then --{name}."
            raise problem(f"--{name} is not read without --against", got=getattr(flags, name), do=do)
    results = read_results(flags.runs)
    refuse_other_objectives(results)
    print_comparison(results)
    return comparison_rows(results)


def decide(flags: CompareFlags) -> list[Row]:
    """Print the decision of A against B, and return the row of it."""
    ours, others = read_sides([flags.runs, flags.against])
    refuse_other_objectives([*ours, *others])
    question = Question(flags.metric, flags.margin, KINDS_OF_CLAIMS[flags.kind], flags.split, flags.looks, flags.at)
    verdict = judge(ours, others, question)
    console = terminal()
    for line in setting_lines(verdict):
        print_line(console, line)
    print_table(console, seeds_table(verdict))
    for line in result_lines(verdict):
        print_line(console, line)
    return verdict_rows(verdict)


if __name__ == "__main__":
    run(main)
