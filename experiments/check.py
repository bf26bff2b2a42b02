"""The command that checks a row of one's own: what the project's rows of its axis must pass, on small examples."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.flags import parse, run
from experiments.cli.terminal import terminal
from experiments.testing import AXES, check
from experiments.training.progress import print_line
from transformer.errors import problem
from transformer.schema import not_empty, setting
from transformer.testing import find_axis

READ_FILES = ("file_format", "source", "tokenizer")
"""Axes whose rows may be checked on a file of the user's."""


@dataclasses.dataclass(frozen=True)
class CheckFlags:
    """Check that a row of your own holds what this project's rows hold:

    python -m experiments.check my_lab.variants:kerple --axis=position

    A row of a part of a model is put into a small model: no later token may have a gradient, padding may change
    nothing, decoding step by step must give the whole sequence's logits, packed examples those of each alone, and so
    on. A tokenizer must read back what it writes; an example of a source must depend on the seed and its number alone;
    an optimizer and a schedule must do side by side what they do alone, with hyperparameters that are arguments; a
    metric must not depend on the order and the split of the data. A table lists what holds, and of what fails the
    smallest example that was found. The exit code is 1 where something fails.
    """

    rows: tuple[str, ...] = setting((), "paths package.module:attribute, or names of rows")
    axis: str | None = setting(None, "table of the rows; none: that of their class", allowed=AXES)
    path: str | None = setting(
        None,
        "file that a file format, a source or a tokenizer is checked on; none: a small one of the project's formats",
        check=not_empty,
    )


def main(argv: Sequence[str]) -> int:
    flags, _ = parse(argv, CheckFlags, overridable=False, words="rows")
    if not flags.rows:
        raise problem("no row is named", expected="a path package.module:attribute", do="See --help.")
    console, passed = terminal(), True
    for name in flags.rows:
        axis = flags.axis or find_axis(name, AXES, "--axis={axis}")
        if flags.path is not None and axis not in READ_FILES:
            raise problem("--path is not read", got=f"a row of {axis}", expected=" or ".join(READ_FILES))
        report = check(axis, name, settings=None if flags.path is None else {"path": flags.path})
        print_line(console, str(report))
        passed = passed and report.passed
    return 0 if passed else 1


if __name__ == "__main__":
    run(main)
