"""Writes the answer of a trained model for texts of the user's own, one line each."""

import dataclasses
import sys
from collections.abc import Sequence

from experiments.command_line import REQUIRED, parse, run
from experiments.compilation import use_compilation_cache
from experiments.runs import open_run
from transformer.errors import problem
from transformer.schema import setting


@dataclasses.dataclass(frozen=True)
class GenerateFlags:
    """Writes a model's answers: python -m experiments.generate --workdir=runs/dates --input="20. November 2026"

    Without --input, each line of standard input is one text.
    """

    workdir: str = setting(REQUIRED, "the directory that the model was trained in")
    input: str | None = setting(None, "the text; none: the lines of standard input")
    checkpoint: str = setting("best", "best, last or a step")


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, GenerateFlags, overridable=False)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint)
    texts = [flags.input] if flags.input is not None else read_lines()
    opened.check(texts)
    for ids in opened.answers(texts):
        print(opened.experiment.task.decode(ids))


def read_lines() -> list[str]:
    """The lines of standard input, without their ends."""
    if sys.stdin.isatty():
        print("one text a line, then Ctrl-D", file=sys.stderr)
    try:
        texts = sys.stdin.read().splitlines()
    except UnicodeDecodeError as error:
        raise problem(f"standard input is not UTF-8: {error}", do="Convert it, with iconv for instance.") from error
    if not texts:
        raise problem("there is nothing to read", do="Give --input=TEXT, or lines on standard input.")
    return texts


if __name__ == "__main__":
    run(main)
