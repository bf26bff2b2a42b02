"""Reasons for which a run or a command does not use a working directory, as errors."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.data.config import PATHS
from transformer.errors import UserError, problem

TRIALS, LANES = "trials", "lanes"
"""The folders of a sweep's working directory: its trials, and what is trained together at present."""

EXTENDABLE = ("training.steps", "training.patience")
"""Settings of the length of a run, which may change as it goes on, although they change the result."""

Difference = tuple[str, Any, Any, bool]
"""Name of a setting, old value, new value, and whether the difference changes the result."""


def refuse_unwritable_name(path: Path) -> None:
    """Raise a UserError for a path in which the library that writes checkpoints cannot read them again.

    Such a path is not UTF-8, or has a bracket, which that library takes for a pattern of names.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise problem(
            f"the path of --workdir is not UTF-8, so no checkpoint can be in it: {path}",
            do="Choose or rename a folder, so that its whole path is UTF-8.",
        ) from error
    if "[" in str(path.absolute()):
        raise problem(
            f"the path of --workdir has a bracket, so no checkpoint in it could be read again: {path.absolute()}",
            do="Choose or rename a folder, so that its whole path has none.",
        )


def _is_moved(name: str, old: Any, new: Any) -> bool:
    """Return whether a setting names as many files of the user as before, at another place."""
    several = [len(value) if isinstance(value, list | tuple) else value is not None for value in (old, new)]
    return name in PATHS and several[0] == several[1] > 0


def refuse_other_config(path: Path, differences: Iterable[Difference], *, same_data: bool = False) -> None:
    """Raise a UserError that lists the settings that differ and change the result, if there are any.

    Args:
        same_data: whether the files of the user have the content that they had, so that they may lie elsewhere.
    """
    changed = [
        (name, old, new)
        for name, old, new, changes_result in differences
        if changes_result and not (same_data and _is_moved(name, old, new))
    ]
    refused = [f"  {name}: {old!r} -> {new!r}" for name, old, new in changed]
    if refused:
        raise UserError(
            "\n".join(
                [
                    f"--workdir {path} was made with another config:",
                    *refused,
                    "Choose another --workdir, or set "
                    + ("this setting to its" if len(refused) == 1 else "these settings to their")
                    + " old value"
                    + ("." if len(refused) == 1 else "s."),
                ]
            )
        )


def refuse_other_data(path: Path, before: str, now: str) -> None:
    """Raise a UserError if the data is not what the run began with."""
    if before != now:
        raise problem(
            f"--workdir {path} was made with other data: the names or the content of the files have changed",
            got=f"fingerprint {now[:12] or 'none'}",
            expected=before[:12] or "none",
            do="Choose another --workdir, or bring the files back.",
        )


def refuse_other_metadata(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a UserError if `Task.metadata`, which the data determines, is not what the run began with."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        verb = "has" if len(names) == 1 else "have"
        raise problem(
            f"--workdir {path} was made with other data: {', '.join(names)} of task.json {verb} changed",
            got="; ".join(str(now.get(name)) for name in names),
            expected="; ".join(str(before.get(name)) for name in names),
            do="Bring the old data back.",
        )


def is_sweep(path: Path) -> bool:
    """Return whether a directory is the working directory of a sweep."""
    return (path / TRIALS).is_dir() and (path / LANES).is_dir()


def is_run(path: Path) -> bool:
    """Return whether a directory is the working directory of a run, by its config.json."""
    try:
        record = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and isinstance(record.get("config"), dict)


def refuse_sweep(path: Path) -> None:
    """Raise a UserError where a run would be trained into the working directory of a sweep."""
    if is_sweep(path):
        got, expected = f"its folders {TRIALS} and {LANES}", "a new directory, or that of a run"
        raise problem(f"--workdir {path} holds a sweep", got=got, expected=expected, do="Choose another --workdir.")


def refuse_run(path: Path) -> None:
    """Raise a UserError where a sweep would be trained into the working directory of a run."""
    if is_run(path):
        got, expected = "its config.json", "a new directory, or that of a sweep"
        raise problem(f"--workdir {path} holds a run", got=got, expected=expected, do="Choose another --workdir.")


def of_no_run(path: Path) -> UserError | None:
    """Return the error for a directory without config.json that is a sweep, one of its trials, or a folder of a run.

    None for any other directory.
    """
    unkept, expected = unkept_trial(path), "the working directory of a run"
    if unkept is not None:
        return unkept
    if is_sweep(path):
        trials = sorted(config.parent for config in (path / TRIALS).glob("*/config.json"))
        kept = [trial for trial in trials if (trial / "checkpoints").exists()]
        do = f"Name one of them: --workdir={(kept or trials)[0]}" if trials else "Wait for its first trials to end."
        return problem(f"--workdir {path} holds a sweep; its runs are {path / TRIALS}/*", expected=expected, do=do)
    run = next((folder for folder in path.absolute().parents if is_run(folder)), None)
    if run is None:
        return None
    return problem(f"--workdir {path} is a folder of the run {run}", expected=expected, do=f"Name it: --workdir={run}")


def unkept_trial(path: Path) -> UserError | None:
    """Return the error for a sweep's trial whose checkpoints are not there; None for any other directory."""
    inside = path.parent.name == TRIALS and is_sweep(path.parent.parent)
    if not inside or not (path / "metrics.jsonl").exists() or (path / "checkpoints").exists():
        return None
    return problem(
        f"{path} holds no checkpoints: it is a trial of a sweep, which writes those of its best trial at the end",
        do="Sweep with --keep=all in another --workdir, or train this trial's settings by themselves.",
    )
