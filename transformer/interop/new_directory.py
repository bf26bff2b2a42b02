"""A directory that is never there in part: written beside its place, then renamed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from transformer.errors import problem


@contextlib.contextmanager
def new_directory(path: str | os.PathLike[str], flag: str | None = None, *, empty: bool = False) -> Iterator[Path]:
    """Yield an empty directory that gets the name `path` at the end of the block; after an error nothing is left.

    Args:
        flag: the flag that names the directory, for the error; None: there is none.
        empty: True where an empty directory may be there, which the new one replaces.

    Raises:
        UserError: something of this name is there already.
        OSError: it cannot be written.
    """
    target, what = Path(path).absolute(), str(path) if flag is None else f"--{flag} {path}"
    replaces = empty and target.is_dir() and not any(target.iterdir())
    if os.path.lexists(target) and not replaces:
        expected = "a new directory, or an empty one" if empty else "a new directory"
        raise problem(f"{what} is there already", expected=expected, do="Choose another.")
    made = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = None
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield beside
        beside.chmod(0o755)
        for file in beside.iterdir():  # some libraries write files that their owner alone can read
            file.chmod(file.stat().st_mode | 0o044)
        if replaces:
            target.rmdir()
        beside.rename(target)
    except BaseException:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        for parent in made:  # deepest first; one that is not empty stays
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
