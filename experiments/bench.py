"""The command that times training, generation, sweeps, compiling and the input pipeline: a case each."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.benchmarks.compile import CompileBenchFlags, time_compiling
from experiments.benchmarks.decode import DecodeBenchFlags, time_decoding
from experiments.benchmarks.input import InputBenchFlags, time_input
from experiments.benchmarks.report import Report
from experiments.benchmarks.sweep import SweepBenchFlags, time_lanes
from experiments.benchmarks.train import TrainBenchFlags, time_training
from experiments.cli.flags import parse, run
from transformer.errors import find_row


class Case(NamedTuple):
    """A case of the benchmark.

    Attributes:
        flags: schema of its flags.
        time: (flags, overrides, report) -> None; checks them, calls `report.begin`, and times.
        overridable: whether it takes --config.SECTION.NAME=VALUE.
    """

    flags: type
    time: Callable[[Any, Sequence[tuple[str, str]], Report], None]
    overridable: bool = True


CASES = {
    "train": Case(TrainBenchFlags, time_training),
    "decode": Case(DecodeBenchFlags, time_decoding, overridable=False),
    "sweep": Case(SweepBenchFlags, time_lanes, overridable=False),
    "compile": Case(CompileBenchFlags, time_compiling),
    "input": Case(InputBenchFlags, time_input),
}
"""Name -> the case; the first one is that of a command line without a name."""


def main(argv: Sequence[str]) -> None:
    """Run the case that a command line names."""
    name, words = case_of(argv)
    case = CASES[name]
    flags, overrides = parse(words, case.flags, overridable=case.overridable)
    report = Report(name, argv, flags.json, flags.output)
    case.time(flags, overrides, report)
    report.end()


def case_of(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name of the case, and the words behind it.

    Raises:
        UserError: no such case.
    """
    if not argv or argv[0].startswith("-") or argv[0].endswith(".py"):
        return next(iter(CASES)), list(argv)
    find_row("case of bench", CASES, argv[0])
    return argv[0], list(argv[1:])


if __name__ == "__main__":
    run(main)
