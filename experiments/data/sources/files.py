"""The user's own files: texts, pairs of texts, or texts with labels, with held-out files of their own or a split.

setting                                 holds
data.path                               texts (a file, a folder, JSONL), or a table of pairs or labels (TSV, JSONL)
data.source_path and data.target_path   pairs: line i of one belongs to line i of the other
data.validation_path, data.test_path    held-out data; without one, a share of the training files
"""

import dataclasses
import os

from experiments.data.config import DataConfig
from experiments.data.examples import LABELS, PAIRS, TEXT, Document, Pair, Splits
from experiments.data.sources.reading import File, fingerprint, is_folder, read_file, read_folder
from experiments.data.sources.rows import FORMATS, format_of, refuse_other_examples
from experiments.data.splitting import RANDOM, Parts, split
from transformer.errors import UserError, counted, problem

ALIGNED, PLAIN = "aligned", "text"
"""Formats of two files, and of files whose names show none."""

MEANINGS = {TEXT: "texts", PAIRS: "pairs of a source and a target", LABELS: "texts with labels"}
WHERE = {
    TEXT: "data.path: a text file, a folder of them, or JSONL",
    PAIRS: "data.source_path and data.target_path (aligned lines), or data.path (TSV or JSONL)",
    LABELS: "data.path: LABEL<TAB>text, or JSONL",
}


@dataclasses.dataclass(frozen=True)
class Part:
    """Contents of one setting's files."""

    files: list[File]
    examples: list
    note: str


def files(config: DataConfig, seed: int, kind: str) -> Splits:
    """Read the examples of the config's files: a function of (their content, config, seed, kind).

    The shares of data.files are held out of the training files for whatever has no files of its own.

    Raises:
        UserError: files that are missing, are no text, or are not in their format; an empty split.
    """
    train = _read(_training_paths(config, kind), config, kind)
    own = {
        name: _read([(f"data.{name}", path) for path in paths], config, kind)
        for name, paths in (("validation_path", config.validation_path), ("test_path", config.test_path))
        if paths
    }
    shares = (
        0.0 if "validation_path" in own else config.files.validation_share,
        0.0 if "test_path" in own else config.files.test_share,
    )
    parts = split(train.examples, *shares, config.files.split, seed)
    for index, name in enumerate(("validation_path", "test_path"), start=1):
        if name in own:
            parts = (*parts[:index], own[name].examples, *parts[index + 1 :])
    notes = [part.note for part in (train, *own.values())]
    if any(shares):
        notes.append(_split_note(parts, config.files.split, seed))
    if kind == LABELS:
        notes += _similar_labels({pair.target for part in parts for pair in part})
    read = [file for part in (train, *own.values()) for file in part.files]
    return Splits(*parts, tuple(notes + _repeated(parts)), fingerprint(read))


def text_files(config: DataConfig, seed: int) -> Splits:
    """Read documents from data.path. Raises UserError as `files`."""
    return files(config, seed, TEXT)


def pair_files(config: DataConfig, seed: int) -> Splits:
    """Read pairs from data.source_path and data.target_path, or data.path. Raises UserError as `files`."""
    return files(config, seed, PAIRS)


def label_files(config: DataConfig, seed: int) -> Splits:
    """Read texts (`source`) with labels (`target`, `group`) from data.path. Raises UserError as `files`."""
    return files(config, seed, LABELS)


def _training_paths(config: DataConfig, kind: str) -> list[tuple[str, str]]:
    """Return (setting, path) of the training files."""
    pair = [("data.source_path", config.source_path), ("data.target_path", config.target_path)]
    given = [(name, path) for name, path in pair if path is not None]
    if config.path is not None and given:
        raise problem(f"data.path and {given[0][0]} are both given", expected=f"one or the other: {WHERE[kind]}")
    if given and kind != PAIRS:
        what = f"{given[0][0]} is not read where the task needs {MEANINGS[kind]}"
        raise problem(what, got=given[0][1], expected=WHERE[kind])
    if len(given) == 1:
        missing = next(name for name, path in pair if path is None)
        raise problem(
            f"{given[0][0]} is given without {missing}", expected="both: line i of one belongs to line i of the other"
        )
    if config.path is None and not given:
        raise problem("data source 'files' has nothing to read", expected=WHERE[kind])
    return given or [("data.path", config.path)]


def _read(paths: list[tuple[str, str]], config: DataConfig, kind: str) -> Part:
    """Read the files of one part, in the config's format or the one of their names."""
    if len(paths) > 1 and kind != PAIRS:
        raise problem(
            f"{paths[0][0]} names {len(paths)} files", got=", ".join(path for _, path in paths), expected="one"
        )
    name = config.files.format or _format_by_name(paths, kind)
    row = FORMATS.find(name) if config.files.format is None else FORMATS.of(config.files, "format")
    read_examples = row.kinds.get(kind)
    settings = " and ".join(dict.fromkeys(setting for setting, _ in paths))
    if read_examples is None:
        holds = " or ".join(MEANINGS[k] for k in row.kinds)
        what = f"the format {str(name)!r} holds {holds}; the task needs {MEANINGS[kind]}"
        able = ", ".join(repr(other) for other, found in FORMATS.items() if kind in found.kinds)
        raise problem(
            what, got=", ".join(path for _, path in paths), expected=f"data.files.format among {able}, or none"
        )
    if len(paths) != row.files:
        expected = "two files: the source's, then the target's" if row.files == 2 else "one"
        raise problem(f"{settings}: {len(paths)} given for the format {str(name)!r}", expected=expected)
    if row.folders and is_folder(paths[0][1], paths[0][0]):
        read, shown = read_folder(paths[0][1], paths[0][0]), os.path.basename(os.path.normpath(paths[0][1])) + os.sep
    else:
        read = [read_file(path, setting) for setting, path in paths]
        shown = " and ".join(file.name for file in read)
    given = read_examples(read, config.files, **row.own)
    examples, left_out = given if isinstance(given, tuple) and len(given) == 2 else (given, "")
    refuse_other_examples(examples, kind, f"file format {str(name)!r}, for {shown},")
    if not examples:
        raise problem(f"{', '.join(path for _, path in paths)} has no examples", got="only blank lines or texts")
    return Part(read, list(examples), f"{shown}: {_size(examples, kind)}{'; ' if left_out else ''}{left_out}")


def _format_by_name(paths: list[tuple[str, str]], kind: str) -> str:
    if len(paths) > 1:
        return ALIGNED
    ((setting, path),) = paths
    found = format_of(path) or PLAIN
    if kind == TEXT and TEXT not in FORMATS[found].kinds:  # a table may be read as the text that it is
        found = PLAIN
    if kind != TEXT and found == PLAIN:
        raise _unclear(setting, path, kind)
    return found


def _unclear(setting: str, path: str, kind: str) -> UserError:
    if is_folder(path, setting):
        return problem(
            f"{setting} is a folder", got=path, expected=f"a file of {MEANINGS[kind]}", do="Name a file in it."
        )
    able = {name: row for name, row in FORMATS.items() if kind in row.kinds and row.files == 1}
    aligned = ", or give two aligned files, the source's and the target's" if kind == PAIRS else ""
    endings = ", ".join(ending for row in able.values() for ending in row.endings)
    return problem(
        f"the name of {path} does not show its format",
        expected=f"one ending in {endings}, perhaps with .gz",
        do=f"Set data.files.format to {' or '.join(able)}{aligned}.",
    )


def _size(examples: list, kind: str) -> str:
    if kind == TEXT:
        files = "" if len(examples) == 1 else f"{len(examples):,} documents, "
        return f"{files}{sum(len(document.text) for document in examples):,} characters"
    labels = f", {counted(len({pair.target for pair in examples}), 'label')}" if kind == LABELS else ""
    return f"{counted(len(examples), 'example')}{labels}"


def _split_note(parts: Parts, method: str, seed: int) -> str:
    by_text = isinstance(parts[0][0], Document)
    sizes = [sum(len(document.text) for document in part) if by_text else len(part) for part in parts]
    method = f"{method}, seed {seed}" if method == RANDOM else method
    learn, validation, test = (f"{size:,}" for size in sizes)
    unit = "characters" if by_text else "examples"
    return f"split ({method}): {learn} {unit} to learn from, {validation} for validation, {test} for the test"


def _similar_labels(labels: set[str], most: int = 5) -> list[str]:
    """Write a line about labels that are the same but for spaces or case, if there are any."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault("".join(label.split()).casefold(), []).append(label)
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    others = f", and {len(alike) - most:,} more" if len(alike) > most else ""
    return [f"labels that differ by spaces or case alone, each a class of its own: {', '.join(alike[:most])}{others}"]


def _repeated(parts: Parts) -> list[str]:
    """Write a line for each held-out part that shares examples with training."""
    seen = {_content(example) for example in parts[0]}
    notes = []
    for name, part in zip(("validation", "test"), parts[1:], strict=True):
        if count := sum(_content(example) in seen for example in part):
            notes.append(f"{count:,} of the {len(part):,} {name} examples are among those to learn from, word for word")
    return notes


def _content(example: Pair | Document) -> str | tuple[str, str]:
    return example.text if isinstance(example, Document) else (example.source, example.target)
