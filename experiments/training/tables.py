"""Tables on a terminal: nothing that is in a cell is cut, however narrow the terminal is.

A table whose words do not fit side by side is printed as a list: a block of lines "name  value" for each row. Where the
output is no terminal, lines have any length (`cli.terminal`), and every table stays a table.
"""

import html
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

BORDER = 3
"""Characters that a column needs beside its cells: a line and two spaces."""


def final_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """Build a table with one row for each mapping; columns are their keys, in order of first appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = text_table(title, [])
    for name in names:
        numbers = all(isinstance(row[name], int | float) for row in rows if name in row)
        table.add_column(Text(name.replace("_", " ")), justify="right" if numbers else "left")
    for row in rows:
        add(table, [_cell(row.get(name)) for name in names])
    return table


def text_table(title: str | None, heads: Sequence[str]) -> Table:
    """Build an empty table of columns with these headings."""
    table = Table(title=None if title is None else Text(title), title_justify="left")
    for head in heads:
        table.add_column(Text(head))
    return table


def add(table: Table, cells: Sequence[str]) -> None:
    """Add a row of texts, which are shown as they are."""
    table.add_row(*map(Text, cells))


def print_table(console: Console, table: Table) -> None:
    """Print a table, wrapped between words where it is too wide; one whose words do not fit side by side as a list."""
    least, most = _widths(table, str.split), _widths(table, str.splitlines)
    room = console.width - BORDER * len(most) - 1
    if sum(most) <= room:
        console.print(table)
    elif sum(least) > room:
        console.print(_as_list(table))
    else:
        for _ in range(room - sum(least)):  # the column that lacks most gets one more
            widest = max(range(len(most)), key=lambda i: most[i] - least[i])
            least[widest] += 1
        for column, width in zip(table.columns, least, strict=True):
            column.width = width
        console.print(table)


def _widths(table: Table, parts: Callable[[str], list[str]]) -> list[int]:
    """Return for each column the width of the longest part of its heading and cells."""
    texts = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [max((cell_len(part) for text in own for part in parts(text)), default=0) for own in texts]


def _as_list(table: Table) -> Table:
    """Return the table with a block for each row: headings in the first column, values in the second."""
    listed = Table(title=table.title, title_justify="left", show_header=False)
    listed.add_column(overflow="fold")
    listed.add_column(overflow="fold")
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for column, cell in zip(table.columns, row, strict=True):
            if str(cell):
                listed.add_row(column.header, cell)
        listed.add_section()
    return listed


def short_names(names: Sequence[str], separator: str = ".") -> list[str]:
    """Return the shortest end of each name, in whole parts, that no other name ends in.

    optimizer.name, tokenizer.name, model.width -> optimizer.name, tokenizer.name, width
    """
    parts = [name.split(separator) for name in names]

    def shortest(own: list[str]) -> str:
        for count in range(1, len(own)):
            if sum(other[-count:] == own[-count:] for other in parts) == 1:
                return separator.join(own[-count:])
        return separator.join(own)

    return [shortest(own) for own in parts]


def to_html(table: Table) -> str:
    """Write a table as HTML, for a notebook."""
    heads = "".join(f"<th>{_escaped(column.header)}</th>" for column in table.columns)
    cells = zip(*(column.cells for column in table.columns), strict=True)
    rows = "".join(f"<tr>{''.join(f'<td>{_escaped(cell)}</td>' for cell in row)}</tr>" for row in cells)
    title = "" if table.title is None else f"<caption>{_escaped(table.title)}</caption>"
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as a pandas DataFrame where pandas is installed, otherwise as a list of dicts."""
    if importlib.util.find_spec("pandas") is None:
        return [dict(row) for row in rows]
    return importlib.import_module("pandas").DataFrame(rows)


def _escaped(text: Any) -> str:
    return html.escape(str(text)).replace("\n", "<br>")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
