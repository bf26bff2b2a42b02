"""A working directory: one run at a time, one config, and a record of the code and machine behind its results.

DIR/lock           held (flock) by the run that is writing; the kernel releases it when that run ends, in whatever way
DIR/config.json    "config": the resolved config; "data": the fingerprint of the data, "" where the config determines
                   it; "versions" (XLA_FLAGS, on which bits depend too, among them), "git", "devices" of the latest
                   start; "earlier_starts": those that differed;
                   "directory": the folder of the latest start, from which relative paths of the config are read;
                   "extensions": the changes of its length; "origin": the run whose parameters it started from;
                   "code": setting -> the module and the hash of the code from outside that it names
"""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from experiments.data.stored_json import Fields, read_json
from experiments.storage.workdir_checks import (
    EXTENDABLE,
    Difference,
    of_no_run,
    refuse_other_config,
    refuse_other_data,
    refuse_sweep,
    refuse_unwritable_name,
)
from transformer.errors import UserError, problem

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "babel", "tokenizers")
XLA_FLAGS = "XLA_FLAGS"

RECORD = Fields(
    {"config": dict},
    {
        "data": str,
        "versions": (dict, None),
        "git": (dict, None),
        "devices": (str, None),
        "earlier_starts": [dict],
        "directory": str,
        "extensions": [dict],
        "origin": dict,
        "code": Fields({}, others=Fields({"module": str, "sha256": str})),
    },
)
"""Shape of config.json."""


Extend = Callable[[Mapping[str, tuple[Any, Any]]], Mapping[str, Any]]
"""A function of the changes of settings of EXTENDABLE, name -> (old, new), that prepares a run for its new length.

It returns the entry of config.json's "extensions", or raises a UserError where the run cannot go on.
"""


class Start(NamedTuple):
    """The ways to start beside a fresh start and a continuation.

    Attributes:
        extend: called while the directory is locked, before config.json is written, where settings of EXTENDABLE have
            changed; None: they may not change.
        origin: record of the run whose parameters a new run starts from; None: none, or that which is recorded.
    """

    extend: Extend | None = None
    origin: Mapping[str, Any] | None = None


class Workdir(NamedTuple):
    """A working directory that this process holds until `close`, or until it ends."""

    path: Path
    resumed: bool
    """True if the directory held a config before, so that an earlier run may be continued."""
    lock: int
    """File descriptor of the lock."""
    changed_code: tuple[str, ...] = ()
    """Settings whose code from outside is not what it was at the latest start."""
    changed_flags: tuple[str, str] | None = None
    """XLA_FLAGS of the latest start and of this one, where they differ."""

    def notes(self) -> list[str]:
        """List lines about XLA_FLAGS that differ from those of the latest start; none where they are the same."""
        return flags_notes(self.changed_flags, "the latest start")

    def close(self) -> None:
        """Release the lock, so that another run can use the directory."""
        os.close(self.lock)

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_workdir(
    path: str | os.PathLike,
    config: Mapping[str, Any],
    *,
    differences: Callable[[Mapping[str, Any], Mapping[str, Any]], Iterable[Difference]],
    devices: str,
    data: str = "",
    code: Mapping[str, Mapping[str, str]] | None = None,
    start: Start | None = None,
) -> Workdir:
    """Create the directory if absent, lock it, and write `config.json`; on an error nothing is left behind.

    Args:
        path: the directory.
        config: the resolved config, as JSON can hold it.
        differences: (old config, new config) -> the settings that differ.
        devices: the platform and its devices, in words.
        data: fingerprint of the data, "" where the config determines it.
        code: setting -> module and hash of its code from outside, as `code_from_outside` collects them.
        start: the ways to start beside a fresh start and a continuation; None: no other.

    Raises:
        UserError: another run holds the lock, the config or the data differs, the directory is that of a sweep or
            cannot be written.
    """
    path = Path(path).absolute()
    refuse_unwritable_name(path)
    if path.exists() and not path.is_dir():
        raise problem(f"--workdir {path} is not a directory", do="Choose another --workdir.")
    refuse_sweep(path)
    made = [p for p in (path, *path.parents) if not p.exists()]
    lock_existed = (path / "lock").exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(path, lock)
            before = _read(path) if (path / "config.json").exists() else None
            kept = (
                {} if before is None else _kept(path, before, list(differences(before["config"], config)), data, start)
            )
            kept |= {} if start is None or start.origin is None else {"origin": start.origin}
            kept["code"] = code or {}
            _write(path, {"config": config, "data": data}, kept, devices)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BaseException as error:
            os.close(lock)
            if not lock_existed and not isinstance(error, _HeldError):
                (path / "lock").unlink()
            raise
    except BaseException as error:
        for directory in made:  # deepest first; one that is not empty stays
            with contextlib.suppress(OSError):
                directory.rmdir()
        if isinstance(error, OSError):
            raise problem(
                f"--workdir {path} cannot be written: {error.strerror or error}",
                do="Free some space, or choose another --workdir.",
            ) from error
        raise
    old = before.get("code", {}) if before is not None else {}
    changed = tuple(name for name, own in (code or {}).items() if name in old and own["sha256"] != old[name]["sha256"])
    return Workdir(path, before is not None, lock, changed, None if before is None else changed_flags(before))


class _HeldError(UserError):
    """Error for a lock that another run holds."""


def _lock(path: Path, lock: int) -> None:
    """Take the lock; raise a UserError that names the process that holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
        what = f"another run (process {holder}) is writing to --workdir {path}"
        raise _HeldError(str(problem(what, do="Wait until it ends, stop it, or choose another --workdir."))) from error


def _kept(path: Path, before: dict, found: list[Difference], data: str, start: Start | None) -> dict[str, Any]:
    """Refuse another config or other data, prepare the run for a new length, and return its record of before."""
    extend = None if start is None else start.extend
    length = {name: (old, new) for name, old, new, _ in found if extend is not None and name in EXTENDABLE}
    same_data = data != "" and before.get("data") == data
    refuse_other_config(path, [one for one in found if one[0] not in length], same_data=same_data)
    refuse_other_data(path, before.get("data", data), data)
    extensions = [*before.get("extensions", []), *([extend(length)] if extend is not None and length else [])]
    return before | ({"extensions": extensions} if extensions else {})


def _write(path: Path, now: Mapping[str, Any], kept: Mapping[str, Any], devices: str) -> None:
    """Write config.json: what this start has, what it keeps of those before, and how they differed."""
    start = {"versions": versions(), "git": git_state(), "devices": devices}
    last = {key: kept.get(key) for key in start}
    earlier = [*kept.get("earlier_starts", []), *([last] if "config" in kept and last != start else [])]
    record = {**now, **start, "earlier_starts": earlier, "directory": str(Path.cwd())}
    record |= {name: kept[name] for name in ("extensions", "origin", "code") if kept.get(name)}
    write_text_atomically(path / "config.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_record(path: str | os.PathLike) -> dict[str, Any]:
    """Read all of config.json; runs of earlier versions may lack everything but "config".

    Raises:
        UserError: no such directory, or no config in it.
    """
    path = Path(path).absolute()
    train = f"Train first: python -m experiments.train --config=configs/NAME.py --workdir={path}"
    if not path.is_dir():
        there = "is not a directory" if path.exists() else "does not exist"
        raise problem(f"--workdir {path} {there}", expected="the working directory of a run", do=train)
    if not (path / "config.json").exists():
        what = f"--workdir {path} holds no config.json, so no run was started in it"
        missing = problem(what, expected="the working directory of a run", do=train)
        raise of_no_run(path) or missing
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    """Read the record in config.json; names of files in it need not be UTF-8."""
    do = "Restore the file, or choose another --workdir."
    return read_json(path / "config.json", RECORD, do=do, surrogates=True)


def write_text_atomically(path: str | os.PathLike, text: str) -> None:
    """Write a file so that at every moment it holds the old text or the new, never a part.

    Half of a surrogate pair, which UTF-8 cannot hold, is written as JSON escapes it: \\ud800.

    Raises:
        OSError: it could not be written; the error names the path, and the old text remains.
    """
    with written_atomically(path) as file:
        file.write(text)


@contextlib.contextmanager
def written_atomically(path: str | os.PathLike) -> Iterator[TextIO]:
    """Open a file whose text takes the place of the old one at the end of the block, whole or not at all.

    Half of a surrogate pair and errors as of `write_text_atomically`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None


def changed_flags(before: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return XLA_FLAGS of an earlier start and the present ones, where they are not the same words; else None.

    A record of before they were stored counts as one without flags.
    """
    flags = ((before.get("versions") or {}).get(XLA_FLAGS) or "", os.environ.get(XLA_FLAGS, ""))
    return None if sorted(flags[0].split()) == sorted(flags[1].split()) else flags


def flags_notes(changed: tuple[str, str] | None, since: str) -> list[str]:
    """List the line about what `changed_flags` returned; `since` names the earlier start."""
    if changed is None:
        return []
    old, new = (flags or "none" for flags in changed)
    return [f"note: XLA_FLAGS have changed since {since}, so bits may differ: {old} -> {new}"]


def versions() -> dict[str, str]:
    """Return the version of Python, of each library that results may depend on, and of this project if installed.

    The flags of XLA are among them, since they decide over results as versions do.
    """
    found = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["transformer"] = importlib.metadata.version("transformer")
    return found | {XLA_FLAGS: os.environ.get(XLA_FLAGS, "")}


def checkout() -> Path | None:
    """Return the folder of the project that this code is in; None where the package is installed."""
    folder = Path(__file__).parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


def git_state() -> dict[str, Any] | None:
    """Read the commit of this code, and whether its tree is clean; None outside a repository, or without git.

    A package that is installed, perhaps within a repository of the user's, has none.
    """
    here = checkout()
    if here is None:
        return None
    try:
        commit = _git(here, "rev-parse", "HEAD")
        clean = not _git(here, "status", "--porcelain", "--untracked-files=normal")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "clean": clean}


def _git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()
