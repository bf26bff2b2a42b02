"""Checks that a file or folder can be written, made before the work whose result it gets."""

import tempfile
from pathlib import Path

from transformer.errors import UserError, problem


def refuse_unwritable(path: Path, flag: str) -> None:
    """Check that a file can be written, without making it.

    Raises:
        UserError: it cannot.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise problem(f"{flag} is a folder", got=path, expected="the name of a file", do="Add a name to it.")
    if not folder.is_dir():
        what = f"{flag} is in no folder that is there"
        raise problem(what, got=path, do=f"Make the folder: mkdir -p {folder}")
    refuse_unwritable_folder(folder, flag)


def refuse_unwritable_folder(folder: Path, flag: str) -> None:
    """Check that files can be written in a folder, or, where it is not there, that it can be made.

    Raises:
        UserError: they cannot.
    """
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise _unwritable(folder, flag, error) from error


def _unwritable(folder: Path, flag: str, error: OSError) -> UserError:
    what = f"the folder of {flag} cannot be written: {error.strerror or error}"
    return problem(what, got=folder, do="Choose another path.")
