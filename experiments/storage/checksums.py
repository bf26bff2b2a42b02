"""Size and CRC-32 of every file of a directory, in a JSON file beside it, to find damage that readers do not notice."""

import json
import zlib
from pathlib import Path

from experiments.storage.workdir import write_text_atomically


def measure(directory: Path) -> dict[str, list[int]]:
    """Compute, for each file, relative path -> [size in bytes, CRC-32]."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            found[path.relative_to(directory).as_posix()] = _size_and_crc(path)
    return found


def write(directory: Path, path: Path) -> None:
    """Measure `directory` and write the result to `path`.

    Raises:
        OSError: a file could not be read, or `path` not written.
    """
    path.parent.mkdir(exist_ok=True)
    write_text_atomically(path, json.dumps(measure(directory), indent=0) + "\n")


def damage(directory: Path, path: Path) -> str | None:
    """Describe the first damage to the files of `directory` by the checksums in `path`; None: none, or no checksums.

    Files that were added later are no damage.
    """
    if not path.exists():
        return None
    try:
        expected = dict(json.loads(path.read_text(encoding="utf-8")))
        found = measure(directory)
    except (OSError, ValueError, TypeError) as error:
        return f"{path.name}: {error}"
    for name, (size, crc) in sorted(expected.items()):
        if name not in found:
            return f"{name} is missing"
        if found[name][0] != size:
            return f"{name} has {found[name][0]} bytes of {size}"
        if found[name][1] != crc:
            return f"{name} has changed since it was saved"
    return None


def _size_and_crc(path: Path) -> list[int]:
    size = crc = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
