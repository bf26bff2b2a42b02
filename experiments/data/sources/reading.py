"""Text from the user's files: UTF-8, plain or compressed by gzip, with one clear error for everything that is not.

Only a line feed ends a line, alone or after a carriage return, which is dropped: other characters that Python's
`splitlines` takes for line ends (form feed, U+2028, ...) belong to the text. A byte order mark is dropped.
"""

import dataclasses
import gzip
import hashlib
import os
import stat
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from experiments.data.machine import free_memory, too_large
from transformer.errors import UserError, nearest, problem

HEAD = 8192
"""Number of bytes at the beginning of a file among which a NUL marks it as binary."""

PIECE = 2**20
"""Number of bytes that are read at a time."""

COPIES = 4
"""Number of copies of a text that are held while it is read and encoded: its bytes, its characters and its tokens."""
UTF_16, UTF_32 = "text in UTF-16", "text in UTF-32"

KINDS_OF_FILE = {
    b"\x1f\x8b": "data compressed by gzip, whose name has to end in .gz here",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet table",
    b"ARROW1": "an Arrow table",
    b"\xfd7zXZ\x00": "data compressed by xz",
    b"BZh": "data compressed by bzip2",
    b"\x28\xb5\x2f\xfd": "data compressed by zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x7fELF": "a compiled program",
    b"\xff\xfe\x00\x00": UTF_32,
    b"\x00\x00\xfe\xff": UTF_32,
    b"\xff\xfe": UTF_16,
    b"\xfe\xff": UTF_16,
}
"""First bytes -> kind of file; applied only to files that are no UTF-8 text."""


class MissingFileError(UserError):
    """Error for a path of the user at which there is nothing.

    Attributes:
        path: path as the setting has it.
        setting: name of the setting.
    """

    def __init__(self, message: object, path: str, setting: str) -> None:
        super().__init__(message)
        self.path, self.setting = path, setting


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file's text, under the name that errors and notes give it.

    Attributes:
        path: path as the user gave it.
        name: last part of the path, or the path below the folder that was read.
    """

    path: str
    name: str
    text: str

    def lines(self) -> list[str]:
        """Split the text into lines without their ends; line i of a message is lines()[i - 1]."""
        lines = self.text.split("\n")
        return lines[:-1] if not lines[-1] else lines


def read_file(path: str, setting: str) -> File:
    """Read one file.

    Args:
        setting: name of the setting that holds the path, for messages.

    Raises:
        UserError: no such file, a folder, an empty, unreadable, binary, broken or undecodable file.
    """
    if is_folder(path, setting):
        raise problem(f"{setting} is a folder", got=path, expected="a file", do="Name a file in it.")
    return _not_empty(File(path, os.path.basename(path), _text(path)))


def read_folder(path: str, setting: str) -> list[File]:
    """Read the files below a folder by relative path, except hidden ones and those in hidden folders.

    Empty ones are among them.

    Raises:
        UserError: there are none, or one of them is no text.
    """
    files = [
        File(os.path.join(path, name), Path(name).as_posix(), _text(os.path.join(path, name))) for name in below(path)
    ]
    if not any(file.text for file in files):
        what = "has no files" if not files else "has only empty files"
        raise problem(f"the folder of {setting} {what}", got=path, expected="text files in it or below it")
    return files


def below(folder: str) -> list[str]:
    """List the relative paths of the regular files below a folder, sorted as POSIX paths, without hidden ones."""

    def stop(error: OSError) -> None:
        raise _cannot_read(str(error.filename or folder), error)

    names = []
    for parent, folders, files in os.walk(_expanded(folder), onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(parent, name) for name in files if not name.startswith("."))
        names += [os.path.relpath(path, _expanded(folder)) for path in paths if os.path.isfile(path)]
    return sorted(names, key=lambda name: Path(name).as_posix())


def is_folder(path: str, setting: str) -> bool:
    """Return True for a folder, False for a file.

    Raises:
        UserError: it is neither.
    """
    try:
        mode = os.stat(_expanded(path)).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(path, setting) from error
    except OSError as error:
        raise _cannot_read(path, error) from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise problem(f"{setting} is not a regular file", got=path, expected="a file or a folder")
    return stat.S_ISDIR(mode)


def fingerprint(files: Iterable[File]) -> str:
    """Compute SHA-256 over the names and texts, in order: 64 hexadecimal digits."""
    total = hashlib.sha256()
    for file in files:
        name, text = os.fsencode(file.name), file.text.encode()
        total.update(b"%d %d\n" % (len(name), len(text)))
        total.update(name)
        total.update(text)
    return total.hexdigest()


def decode(data: bytes | bytearray, path: str) -> str:
    """Decode UTF-8 bytes to text, with \\n between lines.

    Raises:
        UserError: they are no UTF-8; the error names the line and the byte.
    """
    if b"\x00" in data[:HEAD]:
        got = kind_of(data) or f"a NUL byte at byte offset {data.index(0)}"
        raise problem(f"{path} is a binary file", got=got, expected="text in UTF-8", do=_conversion(got))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line, kind = data.count(b"\n", 0, error.start) + 1, kind_of(data)
        got = f"byte 0x{data[error.start]:02x} at byte offset {error.start}" + (f" of {kind}" if kind else "")
        do = _conversion(kind) if kind else "Convert it, for instance: iconv -f latin1 -t utf-8"
        raise problem(f"{path}, line {line}: not UTF-8", got=got, expected="text in UTF-8", do=do) from error
    return text.removeprefix("\N{BYTE ORDER MARK}").replace("\r\n", "\n")


def kind_of(data: bytes | bytearray) -> str | None:
    """Name the kind of a file that is no text, by its first bytes; None if they are of no known kind."""
    found = next((kind for start, kind in KINDS_OF_FILE.items() if data.startswith(start)), None)
    if found is None and len(data) > 3:
        even, odd = data[:HEAD:2], data[1:HEAD:2]
        if min(even.count(0), odd.count(0)) == 0 and max(even.count(0), odd.count(0)) > 0.9 * len(odd):
            return UTF_16  # without a mark: every other byte of Latin letters is NUL
    return found


def _conversion(kind: str) -> str | None:
    """Return how text in another encoding is converted."""
    encoding = {UTF_16: "utf-16", UTF_32: "utf-32"}.get(kind)
    return f"Convert it, for instance: iconv -f {encoding} -t utf-8" if encoding else None


def _text(path: str) -> str:
    try:
        with Path(_expanded(path)).open("rb") as file:
            data = _decompressed(file, path) if path.lower().endswith(".gz") else read_bounded(file, path)
    except OSError as error:
        raise _cannot_read(path, error) from error
    return decode(data, path)


def read_bounded(file: IO[bytes], path: str) -> bytearray:
    """Read a file piece by piece, so that what does not fit in memory is refused before it is held.

    Raises:
        UserError: it has more than a part of the free memory, 1 / COPIES.
    """
    free = free_memory()
    most, data = sys.maxsize if free is None else free // COPIES, bytearray()
    while piece := file.read(PIECE):
        data += piece
        if len(data) > most:
            unpacked = " once it is unpacked" if isinstance(file, gzip.GzipFile) else ""
            raise too_large(f"{path}{unpacked}", len(data), most, "Take a part of it, or a machine with more memory.")
    return data


def _decompressed(file: IO[bytes], path: str) -> bytearray:
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            return read_bounded(unpacked, path)
    except EOFError as error:
        raise problem(f"{path} is cut short: its gzip data has no end", do="Copy or compress it again.") from error
    except (OSError, zlib.error) as error:
        raise problem(
            f"{path} is not gzip data, or broken", got=str(error), do="Copy it again, or name it without .gz."
        ) from error


def _not_empty(file: File) -> File:
    if not file.text:
        do = "Write it again, or name another file."
        raise problem(f"{file.path} is empty", got="no character", expected="text in the format of the task", do=do)
    return file


def _missing(path: str, setting: str) -> UserError:
    """Build the error for a missing path, with the nearest name in the folder, or the first folder that is missing."""
    folder, name = os.path.split(_expanded(path).rstrip(os.sep))
    while folder and not os.path.exists(folder):
        folder, name = os.path.split(folder)
    try:
        guess = nearest(name, os.listdir(folder or "."))
    except OSError:
        guess = None
    error = problem(
        f"{path} of {setting} does not exist",
        got=f"no {name!r} in {folder or 'the current directory'}",
        do=f"Did you mean {os.path.join(folder, guess)!r}?" if guess else None,
    )
    return MissingFileError(error, path, setting)


def _cannot_read(path: str, error: OSError) -> UserError:
    return problem(f"{path} cannot be read: {error.strerror or error}")


def _expanded(path: str) -> str:
    return os.path.expanduser(path)
