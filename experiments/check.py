"""The command that checks a row of one's own: what the project's rows of its axis must pass, on small examples."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.flags import parse, run
from experiments.cli.terminal import terminal
from experiments.training.progress import print_line
from transformer.errors import problem
from transformer.named_code import DOTTED_PATH
from transformer.schema import setting
from transformer.tables import TABLES
from transformer.testing import AXES, check


@dataclasses.dataclass(frozen=True)
class CheckFlags:
    """Check that a row of your own holds what this project's rows hold:

    python -m experiments.check my_lab.variants:kerple --axis=position

    A row of a part of a model is put into small models of each architecture. No later token may have a gradient,
    padding may change nothing, decoding step by step must give the whole sequence's logits, packed examples those of
    each alone, and so on: a table lists what holds, and of what fails the smallest example that was found. The exit
    code is 1 where something fails.
    """

    rows: tuple[str, ...] = setting((), "paths package.module:attribute, or names of rows")
    axis: str | None = setting(None, "table of the rows; none: that of their class", allowed=AXES)


def main(argv: Sequence[str]) -> int:
    flags, _ = parse(argv, CheckFlags, overridable=False, words="rows")
    if not flags.rows:
        raise problem("no row is named", expected="a path package.module:attribute", do="See --help.")
    console, passed = terminal(), True
    for name in flags.rows:
        report = check(flags.axis or _axis(name), name)
        print_line(console, str(report))
        passed = passed and report.passed
    return 0 if passed else 1


def _axis(name: str) -> str:
    """Find the axis of a row by its class, or by its name in one table alone."""
    if ":" not in name:
        found = [axis for axis in AXES if name in TABLES[axis]]
    elif DOTTED_PATH.fullmatch(name):
        found = [axis for axis in AXES if TABLES[axis].holds(name)]
    else:
        raise problem(f"{name!r} is no path", expected="package.module:attribute")
    if len(found) != 1:
        what = f"the table of {name!r} is not known"
        raise problem(what, got=", ".join(found) or "none", do=f"Add --axis, one of {', '.join(AXES)}.")
    return found[0]


if __name__ == "__main__":
    run(main)
