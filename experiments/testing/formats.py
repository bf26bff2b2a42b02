"""Properties of file formats: the examples of a file are a function of its text alone."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from experiments.data.config import FilesConfig
from experiments.data.examples import LABELS, PAIRS, TEXT
from experiments.data.sources.formats import ROWS
from experiments.data.sources.reading import File, read_file
from experiments.data.sources.rows import FORMATS, Format, refuse_other_examples
from experiments.testing.processes import in_another_process
from transformer import schema
from transformer.errors import UserError, problem

FIELDS = {TEXT: ("text",), PAIRS: ("source", "target"), LABELS: ("label", "text")}
"""Fields of a line of JSONL, and columns of TSV, by the kind of its examples."""


def _columns(kind: str, size: int) -> list[tuple[str, ...]]:
    """Make lines of two texts each; a text is text, whatever characters it has."""
    return [(f"{kind} {i % 3 if kind == LABELS else i}: Ω; a, b", f"{i} 🙂 x") for i in range(size)]


def _jsonl(kind: str, size: int) -> list[str]:
    rows = [dict(zip(FIELDS[kind], columns, strict=False)) for columns in _columns(kind, size)]
    return ["".join(f"{json.dumps(row)}\n" for row in rows)]


WRITERS: dict[str, Callable[[str, int], list[str]]] = {
    "text": lambda kind, size: ["".join(f"{first}\n" for first, _ in _columns(kind, size))],
    "aligned": lambda kind, size: ["\n".join(column) for column in zip(*_columns(kind, size), strict=True)],
    "tsv": lambda kind, size: ["".join("\t".join(columns) + "\n" for columns in _columns(kind, size))],
    "jsonl": _jsonl,
}
"""Name of a format of the project's -> function (kind, number of examples) -> texts of the files of an example."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A file format, and files of so many examples; those of the settings, where they name any."""

    row: Format
    settings: Mapping[str, Any]
    size: int

    @functools.cached_property
    def files(self) -> dict[str, list[File]]:
        """The files by the kind of their examples."""
        if "path" in self.settings:
            paths = self.settings["path"]
            paths = (paths,) if isinstance(paths, str) else tuple(paths)
            files = [read_file(path, "path") for path in paths]
            return dict.fromkeys(self.row.kinds, files)
        name = str(_own_name(self.row))
        made = {kind: WRITERS[name](kind, self.size) for kind in self.row.kinds}
        return {kind: [_named(text, f"{i}.{name}") for i, text in enumerate(texts)] for kind, texts in made.items()}

    @functools.cached_property
    def config(self) -> Any:
        """Section `data.files` with the format."""
        return _config(self.row, self.settings)

    def read(self, kind: str, files: list[File] | None = None) -> list[Any]:
        """Read the examples of files."""
        row = FORMATS.of(self.config, "format")
        given = row.kinds[kind](files or self.files[kind], self.config, **row.own)
        examples = given[0] if isinstance(given, tuple) and len(given) == 2 else given
        refuse_other_examples(examples, kind, f"the format, for {kind},")
        return list(examples)

    @functools.cached_property
    def contents(self) -> dict[str, list[list[str]]]:
        """The contents of the examples by kind, without what names them."""
        return {kind: contents_of(self.read(kind), kind) for kind in self.files}


@dataclasses.dataclass(frozen=True)
class Examples:
    """Files of one example to many."""

    sizes: tuple[int, ...] = (1, 2, 9)

    def make(self, row: Format, settings: Mapping[str, Any], size: int) -> Example:
        """Make the example of so many examples; the settings are those of section `data.files`, and "path".

        Raises:
            UserError: no path of a file in a format that is not the project's.
        """
        if "path" not in settings and _own_name(row) is None:
            what = "a file format of one's own is checked on a file in this format, and none is named"
            raise problem(what, do='Name one: --path=PATH, or settings={"path": PATH}.')
        _config(row, settings)
        return Example(row, settings, size)


def _own_name(row: Format) -> str | None:
    """Return the name of one of the project's formats; None for another one."""
    return next((name for name, own in ROWS.items() if own.kinds == row.kinds), None)


def _config(row: Format, settings: Mapping[str, Any]) -> Any:
    more = {name: value for name, value in settings.items() if name != "path"}
    return schema.from_dict(FilesConfig, {"format": row, **more}, "data.files")


def kinds(example: Example) -> str | None:
    """Read the examples of each kind that the format holds: one or more, of the kind's class."""
    for kind, files in example.files.items():
        if len(files) != example.row.files:
            return f"{kind}: {len(files)} files are given, the row has files={example.row.files}"
        try:
            if not example.read(kind):
                return f"{kind}: no examples"
        except UserError as error:
            return f"{kind}: {error}"
    return None


def repeated(example: Example) -> str | None:
    """Read the files again, after a part of them: the examples are the same."""
    for kind, first in example.contents.items():
        if contents_of(example.read(kind), kind) != first:
            return f"{kind}: a second reading gives other examples"
    return None


def process(example: Example) -> str | None:
    """Read the files in another process, where sets have another order."""
    found = in_another_process(
        "file_format", example.row, all_contents, settings=dict(example.settings), size=example.size
    )
    for kind, examples in example.contents.items():
        if found[kind] != examples:
            return f"{kind}: another process gives other examples"
    return None


def all_contents(row: Format, settings: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return the contents of an example by kind."""
    return Example(row, settings, size).contents


def place(example: Example) -> str | None:
    """Read the same texts under other names and paths: the texts of the examples are the same."""
    for kind, files in example.files.items():
        moved = [_named(file.text, f"elsewhere {i}") for i, file in enumerate(files)]
        if contents_of(example.read(kind, moved), kind) != example.contents[kind]:
            return f"{kind}: the examples depend on the name of the file"
    return None


def prefix(example: Example) -> str | None:
    """Read the beginnings of the files, up to the end of a line: they give the beginning of the examples.

    A beginning that cannot be read proves nothing.
    """
    for kind, files in example.files.items():
        longest = min(len(file.lines()) for file in files)
        for count in range(1, longest):
            parts = [_named("".join(f"{line}\n" for line in file.lines()[:count]), file.name) for file in files]
            try:
                found = contents_of(example.read(kind, parts), kind)
            except UserError:
                continue
            if found != example.contents[kind][: len(found)]:
                return f"{kind}: the first {count} lines give other examples than the whole file begins with"
    return None


def contents_of(examples: list[Any], kind: str) -> list[list[str]]:
    """List the texts of examples; of a document its text alone, without its name."""
    return [list(dataclasses.astuple(example))[: 1 if kind == TEXT else None] for example in examples]


def _named(text: str, name: str) -> File:
    return File(f"folder/{name}", name, text)


PROPERTIES = (
    ("kinds", kinds),
    ("repeated", repeated),
    ("process", process),
    ("place", place),
    ("prefix", prefix),
)
"""Name -> property."""
