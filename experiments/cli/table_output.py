"""The table that a command writes for other programs, beside what it prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.cli.terminal import terminal
from experiments.storage.table_files import Row, Sheet, TableFile, about_command
from experiments.training.progress import print_line


def write_table(
    file: TableFile,
    rows: Sequence[Row],
    program: str,
    argv: Sequence[str],
    units: Mapping[str, str] = {},
    **about: Any,
) -> None:
    """Write the table of a command where there is a file, and print its path.

    Args:
        program: name of the command, such as "evaluate".
        argv: its words.
        units: column -> unit.
        about: what else the whole table shares.

    Raises:
        OSError: it cannot be written any more; the error names the path.
    """
    if file:
        file.write(Sheet(rows, units, {**about_command(program, argv), **about}))
        print_line(terminal(), f"table: {file.path}")
