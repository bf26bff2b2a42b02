"""The file formats: one row of FORMATS for each, with a function for each kind of data it can hold.

    text       a file is a document
    aligned    two files; line i of one is the source, line i of the other its target
    tsv        source<TAB>target, or LABEL<TAB>text: a line is an example
    jsonl      a line is a JSON object, whose fields are named by settings

Blank lines at the end of a TSV or JSONL file are left out; elsewhere they are errors. Aligned lines that are blank on
both sides are left out, and counted; blank on one side is an error.
"""

import json
from collections.abc import Iterator
from typing import Any

from experiments.data.config import JSONL, FilesConfig
from experiments.data.examples import Document, Pair
from experiments.data.sources.reading import File
from experiments.data.sources.rows import Format
from transformer.errors import nearest, problem

Read = tuple[list, str]
"""Examples, and a note on those left out ("": none)."""
HEADER = (
    *("answer", "category", "class", "context", "input", "label", "labels", "output", "question", "review"),
    *("sentence", "source", "src", "target", "text", "tgt"),
)
"""Names of columns; a first line of two of them looks like a header."""
SHOWN = 40
"""Number of characters of a line that a message shows."""


def text_documents(files: list[File], config: FilesConfig) -> Read:
    """Read each file that is not empty as a document."""
    documents = [Document(file.text, file.name) for file in files if file.text]
    return documents, _left_out(len(files) - len(documents), "empty file")


def aligned_pairs(files: list[File], config: FilesConfig) -> Read:
    """Pair line i of the first file with line i of the second.

    Raises:
        UserError: one file has more lines than the other, or a line is blank in one of them.
    """
    source, target = files
    sources, targets = source.lines(), target.lines()
    if len(sources) != len(targets):
        raise problem(
            f"{source.path} and {target.path} are not aligned",
            got=f"{len(sources):,} and {len(targets):,} lines",
            expected="as many lines in both",
        )
    pairs = []
    for number, (left, right) in enumerate(zip(sources, targets, strict=True), start=1):
        if bool(left.strip()) != bool(right.strip()):
            empty, other = (target, source) if left.strip() else (source, target)
            raise problem(
                f"{empty.path}, line {number}: blank",
                got=f"{_beginning(left if left.strip() else right)} in {other.path}",
                expected="text on both sides, or on neither",
            )
        if left.strip():
            pairs.append(Pair(left, right))
    return pairs, _left_out(len(sources) - len(pairs), "line blank on both sides")


def tsv_pairs(files: list[File], config: FilesConfig) -> Read:
    """Read lines of source<TAB>target.

    Raises:
        UserError: a line with another number of tabs, or a side that is blank.
    """
    pairs = []
    for where, line in _numbered(files):
        source, target = _at_tab(line, where, "source<TAB>target")
        if "\t" in target:
            raise problem(
                f"{where}: more than two columns",
                got=f"{_beginning(line)} with {line.count(chr(9))} tabs",
                expected="source<TAB>target, one tab",
            )
        pairs.append(Pair(_not_blank(source, where, "source"), _not_blank(target, where, "target")))
    return pairs, _header_note(pairs and (pairs[0].source, pairs[0].target))


def tsv_labels(files: list[File], config: FilesConfig) -> Read:
    """Read lines of LABEL<TAB>text; further tabs belong to the text.

    Raises:
        UserError: a line without a tab, a blank label or text.
    """
    pairs = []
    for where, line in _numbered(files):
        label, text = _at_tab(line, where, "LABEL<TAB>text")
        pairs.append(_labelled(_not_blank(text, where, "text"), _not_blank(label, where, "label")))
    return pairs, _header_note(pairs and (pairs[0].target, pairs[0].source))


def jsonl_documents(files: list[File], config: FilesConfig) -> Read:
    """Read each line's text as a document.

    Raises:
        UserError: a line that is not a JSON object with that field, a string.
    """
    (file,) = files
    texts = [_field(row, "text", config, where) for where, row in _objects(files)]
    documents = [Document(text, f"{file.name}:{number}") for number, text in enumerate(texts, start=1) if text]
    return documents, _left_out(len(texts) - len(documents), "empty text")


def jsonl_pairs(files: list[File], config: FilesConfig) -> Read:
    """Read each line's source and target. Raises UserError as `jsonl_documents`, and for a blank one."""
    return [
        Pair(*(_not_blank(_field(row, name, config, where), where, name) for name in ("source", "target")))
        for where, row in _objects(files)
    ], ""


def jsonl_labels(files: list[File], config: FilesConfig) -> Read:
    """Read each line's text and label (a string, a whole number or a boolean). Raises UserError as `jsonl_pairs`."""
    return [
        _labelled(*(_not_blank(_field(row, name, config, where), where, name) for name in ("text", "label")))
        for where, row in _objects(files)
    ], ""


FIELDS = ("text_field", "label_field", "source_field", "target_field")

ROWS = {
    "text": Format(text=text_documents, folders=True, exempt={"prefix": "a file is one example"}),
    "aligned": Format(pairs=aligned_pairs, files=2),
    "tsv": Format(pairs=tsv_pairs, labels=tsv_labels, endings=(".tsv",)),
    "jsonl": Format(jsonl_documents, jsonl_pairs, jsonl_labels, reads=FIELDS, endings=JSONL),
}
"""The rows of FORMATS."""


def _labelled(text: str, label: str) -> Pair:
    return Pair(text, label, label)


def _header_note(columns: tuple[str, str] | list) -> str:
    """Write a note where the first line of a table looks like the names of its columns."""
    if not columns or not {column.strip().lower() for column in columns} <= set(HEADER):
        return ""
    shown = "<TAB>".join(column.strip() for column in columns)
    return f"its first line, {shown}, looks like a header, but is read as an example; delete it if it is one"


def _numbered(files: list[File]) -> Iterator[tuple[str, str]]:
    """Yield ("path, line 3", the line) for each line but the blank ones at the end."""
    (file,) = files
    lines = file.lines()
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        yield f"{file.path}, line {number}", line


def _at_tab(line: str, where: str, expected: str) -> tuple[str, str]:
    before, tab, after = line.partition("\t")
    if not tab:
        raise problem(f"{where}: no tab", got=_beginning(line), expected=expected)
    return before, after


def _objects(files: list[File]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in _numbered(files):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = f"{error.msg} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            expected = "a JSON object on each line"
            raise problem(f"{where}: not JSON ({why})", got=_beginning(line), expected=expected) from error
        if not isinstance(row, dict):
            raise problem(f"{where}: not a JSON object", got=_beginning(line), expected='{"name": value, ...}')
        yield where, row


def _field(row: dict[str, Any], role: str, config: FilesConfig, where: str) -> str:
    """Return the field of an object that data.files.ROLE_field names."""
    setting, name = f"data.files.{role}_field", getattr(config, f"{role}_field")
    if name not in row:
        guess = nearest(name, row)
        raise problem(
            f"{where}: no field {name!r}, which {setting} names",
            got="the fields " + ", ".join(map(repr, row)) if row else "no fields",
            do=f"Did you mean {setting}={guess}?" if guess else f"Set {setting} to one of them." if row else None,
        )
    value = row[name]
    if role == "label" and isinstance(value, int):
        value = json.dumps(value)
    if not isinstance(value, str):
        expected = "a string, a whole number or a boolean" if role == "label" else "a string"
        raise problem(
            f"{where}: field {name!r} has the wrong type", got=_beginning(json.dumps(value)), expected=expected
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise problem(
            f"{where}: field {name!r} has half a surrogate pair, which is no text", got=ascii(value)
        ) from error
    return value


def _not_blank(text: str, where: str, what: str) -> str:
    if not text.strip():
        raise problem(f"{where}: the {what} is blank", got=repr(text[:SHOWN]), expected="text")
    return text


def _beginning(line: str) -> str:
    return repr(line[:SHOWN]) + ("..." if len(line) > SHOWN else "")


def _left_out(count: int, what: str) -> str:
    head, _, rest = what.partition(" ")
    many = f"{what}s" if what.startswith("empty") else f"{head}s {rest}"
    return f"{count:,} {what if count == 1 else many} left out" if count else ""
