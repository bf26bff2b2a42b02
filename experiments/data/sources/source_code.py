"""The source code of Python's standard library, as the running interpreter has it: real text on every machine.

Files are read in the order of their relative paths. Left out are tests, tools that are no part of the library's own
code, installed packages, what the build of this interpreter wrote (_sysconfigdata_*.py, which holds local paths),
links, files that are not UTF-8, and files of fewer than 200 characters. The fingerprint identifies the text that a
run learned from: another version of Python has another one.
"""

import fnmatch
import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.data.config import DataConfig
from experiments.data.examples import Document, Splits
from experiments.data.sources.reading import File, decode, fingerprint
from transformer.errors import UserError, problem

LEFT_OUT = (
    *("test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__", "config-*"),
    "_sysconfigdata_*.py",
)
"""Names of folders and files, with * for any characters."""
FEWEST_CHARACTERS = 200
HELD_OUT = 0.025
"""Largest share of the characters that validation gets; the test as many. A file is held out as a whole."""


def source_code(config: DataConfig, seed: int) -> Splits:
    """Read each file of the library as a document; the held-out ones are a function of the seed and the library alone.

    Raises:
        UserError: the interpreter has no source code of its library.
    """
    return split_library(Path(sysconfig.get_path("stdlib")), seed)


def split_library(folder: Path, seed: int) -> Splits:
    """Read and split the library below a folder. Raises UserError as `source_code`."""
    files, unreadable = _read(folder)
    if not files:
        raise problem(
            "this interpreter has no source code of its standard library",
            got=f"no usable .py file below {folder}",
            do="Use an ordinary installation of Python, or data.source=files.",
        )
    documents = [Document(file.text, file.name) for file in files]
    digest = fingerprint(files)
    size = sum(len(document.text) for document in documents)
    parts = _split(documents, round(HELD_OUT * size), seed)
    notes = [
        f"source code of Python {platform.python_version()}'s standard library: {len(files):,} files, "
        f"{size:,} characters, fingerprint {digest[:12]}"
    ]
    if unreadable:
        shown = ", ".join(unreadable[:3]) + (", ..." if len(unreadable) > 3 else "")
        notes.append(f"{len(unreadable):,} of its files could not be read and are left out: {shown}")
    learn, validation, test = (f"{sum(len(document.text) for document in part):,}" for part in parts)
    notes.append(f"split by file, seed {seed}: {learn} characters to learn from, {validation} and {test} held out")
    return Splits(*parts, tuple(notes), digest)


def python_files(folder: Path) -> list[str]:
    """List the relative paths (POSIX, sorted) of a library's own .py files."""
    return sorted(Path(path).relative_to(folder).as_posix() for path in _walk(str(folder)))


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_left_out(name)]
        for name in names:
            path = os.path.join(parent, name)
            if name.endswith(".py") and not _is_left_out(name) and not os.path.islink(path):
                yield path


def _is_left_out(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in LEFT_OUT)


def _read(folder: Path) -> tuple[list[File], list[str]]:
    """Read the files; list the names of those that went away or may not be read."""
    files, unreadable = [], []
    for name in python_files(folder):
        try:
            text = decode((folder / name).read_bytes(), name)
        except OSError:
            unreadable.append(name)
            continue
        except UserError:  # another encoding, which the file declares
            continue
        if len(text) >= FEWEST_CHARACTERS:
            files.append(File(str(folder / name), name, text))
    return files, unreadable


def _split(documents: list[Document], most: int, seed: int) -> tuple[list[Document], list[Document], list[Document]]:
    """Split in a seeded order: validation takes each file that keeps it within `most` characters, then the test."""
    left = np.random.default_rng(seed).permutation(len(documents)).tolist()
    held_out = []
    for _ in ("validation", "test"):
        taken, size = set(), 0
        for number in left:
            if size + len(documents[number].text) <= most:
                taken.add(number)
                size += len(documents[number].text)
        left = [number for number in left if number not in taken]
        held_out.append([documents[number] for number in sorted(taken)])
    return [documents[number] for number in sorted(left)], *held_out
