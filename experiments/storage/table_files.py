"""Tables as files that other programs read, chosen by the ending of the file: .json, .csv, .md, .tex.

Numbers are written in full, so that a program reads the same numbers that were computed.

.json    an object with `data` (a list of rows), `schema` (name, type and unit of each column) and `about` (command,
         commit, versions): the Table Schema of Frictionless Data, which pandas reads with read_json(orient="table")
.csv     a line of names, then one line for each row, with commas (RFC 4180); nothing for a missing value
.md      a table of GitHub's Markdown
.tex     a `tabular` with the rules of booktabs and siunitx's columns of numbers, which it can round when it typesets
"""

import csv
import io
import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.storage.metrics import to_json
from experiments.storage.workdir import git_state, versions, write_text_atomically
from experiments.storage.writable import refuse_unwritable
from transformer.errors import unknown

Row = Mapping[str, Any]
"""Name of a column -> text, number, bool or None."""


class Sheet(NamedTuple):
    """The rows of a table for a file.

    Attributes:
        rows: the rows; a column that a row lacks is empty in it.
        units: column -> unit of its numbers, where all have one.
        about: what the whole table shares, such as the command and the commit.
    """

    rows: Sequence[Row]
    units: Mapping[str, str] = {}
    about: Mapping[str, Any] = {}

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order of first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def values(self, column: str) -> list[Any]:
        """Return the values of a column, None where a row has none."""
        return [row.get(column) for row in self.rows]


def to_table_schema(sheet: Sheet) -> str:
    """Write a sheet as JSON with the types and units of its columns; numbers that are not finite are null."""
    fields = [
        {"name": name, "type": _type(sheet.values(name)), **({"unit": unit} if (unit := sheet.units.get(name)) else {})}
        for name in sheet.columns
    ]
    rows = [{name: _finite(_plain(row.get(name))) for name in sheet.columns} for row in sheet.rows]
    whole = {"about": to_json(dict(sheet.about)), "schema": {"fields": fields}, "data": rows}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def to_csv(sheet: Sheet) -> str:
    """Write a sheet as comma-separated values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows([_text(row.get(name)) for name in sheet.columns] for row in sheet.rows)
    return text.getvalue()


def to_markdown(sheet: Sheet) -> str:
    """Write a sheet as a table of Markdown."""
    bars = ["---:" if _is_number(sheet.values(name)) else "---" for name in sheet.columns]
    cells = [[_text(row.get(name)) for name in sheet.columns] for row in sheet.rows]
    lines = [[_escaped(head, MARKDOWN) for head in _heads(sheet)], bars, *_all_escaped(cells, MARKDOWN)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(sheet: Sheet) -> str:
    """Write a sheet as a LaTeX table; comments name the packages, and what is written about the table."""
    numbers = {name: _is_number(sheet.values(name)) for name in sheet.columns}
    columns = "".join(_latex_column(sheet.values(name)) for name in sheet.columns)
    heads = [f"{{{_escaped(head, LATEX)}}}" for head in _heads(sheet)]
    cells = [
        [_text(row.get(name)) if numbers[name] else _escaped(_text(row.get(name)), LATEX) for name in sheet.columns]
        for row in sheet.rows
    ]
    about = "".join(f"% {name}: {_one_line(value)}\n" for name, value in sheet.about.items())
    lines = [*(" & ".join(row) + r" \\" for row in cells)]
    return (
        "% \\usepackage{booktabs, siunitx}  \\sisetup{round-mode = figures, round-precision = 4}\n"
        f"{about}\\begin{{tabular}}{{{columns}}}\n\\toprule\n{' & '.join(heads)} \\\\\n\\midrule\n"
        + "\n".join(lines)
        + "\n\\bottomrule\n\\end{tabular}\n"
    )


def _latex_column(values: Sequence[Any]) -> str:
    """Return the type of a column: of siunitx for numbers, but for whole ones, which are not rounded."""
    if not _is_number(values):
        return "l"
    return "r" if all(isinstance(_plain(value), int) for value in values if value is not None) else "S"


FORMATS: Mapping[str, Callable[[Sheet], str]] = {
    ".json": to_table_schema,
    ".csv": to_csv,
    ".md": to_markdown,
    ".tex": to_latex,
}
"""Ending of a file -> its writer."""

MEANING = f"file of the table for other programs ({', '.join(FORMATS)}), written anew; none: no file"
"""Meaning of a setting that names such a file."""

MARKDOWN = {"|": r"\|", "\n": "<br>"}
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    **{character: f"\\{character}" for character in "&%$#_"},
    "\n": " ",
}
"""Character -> how it is written."""


class TableFile:
    """A file that is written at the end of a command; a wrong name is an error before the work.

    Args:
        path: the file; None: there is none, and nothing is written.
        flag: the flag that names it, for errors.

    Raises:
        UserError: an ending that is not in FORMATS, or a folder in which nothing can be written.
    """

    def __init__(self, path: str | None, flag: str = "--output") -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            ending = self.path.suffix.lower()
            if ending not in FORMATS:
                raise unknown(f"ending of {flag}", ending or "none", FORMATS)
            refuse_unwritable(self.path, flag)

    def __bool__(self) -> bool:
        """Return whether there is a file."""
        return self.path is not None

    def write(self, sheet: Sheet) -> None:
        """Write the table, where there is a file.

        Raises:
            OSError: it cannot be written any more; the error names the path.
        """
        if self.path is not None:
            write_text_atomically(self.path, FORMATS[self.path.suffix.lower()](sheet))


def _plain(value: Any) -> Any:
    """Return a value as a number, a bool, None or a text."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else _one_line(value)


def _text(value: Any) -> str:
    """Write a value: numbers in full, nothing for None."""
    value = _plain(value)
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _one_line(value: Any) -> str:
    """Write a value that is no number in one line, lists and the like as JSON."""
    return value.replace("\n", " ") if isinstance(value, str) else json.dumps(to_json(value), ensure_ascii=False)


def _is_number(values: Sequence[Any]) -> bool:
    """Return whether a column holds numbers alone."""
    known = [_plain(value) for value in values if value is not None]
    return bool(known) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in known)


def _type(values: Sequence[Any]) -> str:
    """Return the type of a column by the names of Table Schema."""
    known = [_plain(value) for value in values if value is not None]
    if known and all(isinstance(x, bool) for x in known) and len(known) == len(values):
        return "boolean"
    if not _is_number(values):
        return "string"
    return "integer" if all(isinstance(x, int) for x in known) and len(known) == len(values) else "number"


def _heads(sheet: Sheet) -> list[str]:
    """Return the headings: the name of each column, with its unit."""
    return [f"{name} ({sheet.units[name]})" if sheet.units.get(name) else name for name in sheet.columns]


def _all_escaped(cells: Sequence[Sequence[str]], table: Mapping[str, str]) -> list[list[str]]:
    return [[_escaped(cell, table) for cell in row] for row in cells]


def _escaped(text: str, table: Mapping[str, str]) -> str:
    return text.translate({ord(character): written for character, written in table.items()})


def about_command(program: str, argv: Sequence[str]) -> dict[str, Any]:
    """Return what a table says about its origin: command, commit of this code, versions."""
    state = git_state() or {"commit": None, "clean": None}
    return {"command": shlex.join(["python", "-m", f"experiments.{program}", *argv]), **state, "versions": versions()}
