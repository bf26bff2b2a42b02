"""Size and CRC-32 of every file of a directory, in JSON files, to find damage that readers do not notice."""

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

from experiments.data.stored_json import Checked, Fields, read_json
from experiments.storage.checkpoint_format import is_step
from experiments.storage.workdir import write_text_atomically
from transformer.errors import UserError
from transformer.schema import Check

NAME = "checksums.json"
"""The file within a directory that holds its sums, of every other file."""

TWO_NUMBERS = Check(
    lambda pair: len(pair) == 2 and all(type(part) is int and part >= 0 for part in pair), "[size in bytes, CRC-32]"
)

SUMS = Fields({}, others=Checked(list, TWO_NUMBERS))
"""Shape of a file of sums."""


def measure(directory: Path) -> dict[str, list[int]]:
    """Compute, for each file but the sums themselves, relative path -> [size in bytes, CRC-32]."""
    return {path.relative_to(directory).as_posix(): _size_and_crc(path) for path in _files(directory)}


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.rglob("*")) if path.is_file() and path != directory / NAME]


def write(directory: Path, paths: Sequence[Path]) -> None:
    """Measure `directory` and write the result to each of `paths`.

    Raises:
        OSError: a file could not be read, or one of `paths` not written.
    """
    text = json.dumps(measure(directory), indent=0)
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        write_text_atomically(path, text)


def damage(directory: Path, paths: Sequence[Path], share: tuple[int, int] = (0, 1)) -> str | None:
    """Describe the first damage to the files of `directory` by the sums in each of `paths`; None: there is none.

    Files that were added later are no damage.

    Args:
        share: index of a part of the files, and the number of parts; others are not read.
    """
    part, parts = share
    try:
        expected = [read_json(path, SUMS, surrogates=True) for path in paths]
        there = {path.relative_to(directory).as_posix(): path for path in _files(directory)}
        found = {name: _size_and_crc(there[name]) for name in list(there)[part::parts]} if expected else {}
    except (OSError, UserError) as error:
        return str(error)
    for sums in expected:
        for name, (size, crc) in sorted(sums.items()):
            if name not in there:
                return f"{name} is missing"
            if name in found and found[name][0] != size:
                return f"{name} has {found[name][0]} bytes of {size}"
            if name in found and found[name][1] != crc:
                return f"{name} has changed since it was saved"
    return None


class OfSteps:
    """The sums of the checkpoints in one directory: DIR/STEP/checksums.json and, beside them, DIR/checksums/STEP.json.

    Args:
        directory: of the checkpoints.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, step: int) -> None:
        """Measure the files of a step and write both files of sums.

        Raises:
            OSError: a file could not be read or written.
        """
        write(self.directory / str(step), self._paths(step))

    def of(self, step: int) -> list[Path]:
        """List the files of sums that a step has."""
        return [file for file in self._paths(step) if os.path.lexists(file)]

    def damage(self, step: int, share: tuple[int, int] = (0, 1)) -> str | None:
        """Describe the first damage to a step that its sums show; None: they show none. For `share`, see `damage`."""
        return damage(self.directory / str(step), self.of(step), share)

    def steps(self) -> list[int]:
        """List the steps that have sums beside them, oldest first."""
        return sorted(int(p.stem) for p in (self.directory / "checksums").glob("*.json") if is_step(p.stem))

    def forget(self, step: int) -> None:
        """Remove the sums beside a step that is gone."""
        _, beside = self._paths(step)
        shutil.rmtree(beside) if beside.is_dir() else beside.unlink(missing_ok=True)

    def _paths(self, step: int) -> tuple[Path, Path]:
        return self.directory / str(step) / NAME, self.directory / "checksums" / f"{step}.json"


def _size_and_crc(path: Path) -> list[int]:
    size = crc = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
