"""The terminal that commands print on: what is printed is the data itself, and all of it where nobody watches."""

import io
import sys
from typing import IO

from rich.console import Console

WIDE = 10_000
"""Characters of a line in a file or a pipe, where a table is as wide as its cells."""


def terminal(file: IO[str] | None = None, *, error: bool = False) -> Console:
    """Return the console to print on: text is printed as it is, without markup, emoji codes or highlighting.

    Args:
        file: the stream; None: standard output. One that is no terminal has lines of any length.
        error: whether standard error is meant in place of standard output.
    """
    console = Console(file=file, stderr=error, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console = Console(file=file, stderr=error, markup=False, emoji=False, highlight=False, width=WIDE)
    return console


def escape_unknown_characters() -> None:
    r"""Let both outputs write a character that their encoding lacks, or half a surrogate pair, as \xe9 or \ud800."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
