"""Texts that a user gives on the command line: one text, a file of lines, or the lines of standard input."""

import sys

from experiments.data.sources.reading import File, decode, read_bounded, read_file
from transformer.errors import problem

NAME = "standard input"


def read_texts(text: str | None, file: str | None) -> list[str]:
    """Read the texts of the flags --input and --file, or of standard input where neither is given.

    Raises:
        UserError: both flags are given, or the texts cannot be read.
    """
    if text is not None and file is not None:
        raise problem("--input and --file are both given", do="Give one of them.")
    if text is not None:
        return [text]
    if file is not None:
        return read_file(file, "--file").lines()
    return read_standard_input()


def read_standard_input() -> list[str]:
    """Read the lines of standard input, without their ends.

    Raises:
        UserError: it is not UTF-8, empty, or larger than the memory.
    """
    if sys.stdin is None:  # closed, as by <&-
        raise problem("standard input is closed", do="Give --input=TEXT, --file=PATH, or lines on standard input.")
    if sys.stdin.isatty():
        print("one text a line, then Ctrl-D", file=sys.stderr)
    texts = File("", NAME, decode(read_bounded(sys.stdin.buffer, NAME), NAME)).lines()
    if not texts:
        raise problem("there is nothing to read", do="Give --input=TEXT, --file=PATH, or lines on standard input.")
    return texts
