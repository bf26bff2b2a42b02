"""Settings, code, versions and working directory, which must be the same in all processes of a run."""

import hashlib
import time
from pathlib import Path
from typing import Any

import experiments
import transformer
from experiments import settings
from experiments.comparing import configs
from experiments.parallel.processes import Processes, refuse_others
from experiments.storage.workdir import XLA_FLAGS, versions
from transformer.named_code import code_from_outside

LATE_SECONDS = 20.0
"""Longest wait for a new file, or for its new content, which file systems of networks show late."""


def refuse_other_settings(together: Processes, config: Any) -> None:
    """Compare the resolved configs of all processes, and the code that they run.

    Raises:
        UserError: they differ.
    """
    if together.count == 1:
        return
    facts = {
        "settings": settings.to_json_dict(config),
        "versions": {name: version for name, version in versions().items() if name != XLA_FLAGS},
        "code": _code(),
        "code of its own": code_from_outside(config),
    }
    refuse_others(together, facts, {"settings": _differing_settings, "versions": _differing})


def refuse_other_folder(together: Processes, workdir: Path) -> None:
    """Compare the config.json that the first process has written with that which the others read, in time.

    Raises:
        UserError: a process has another folder of that name.
    """
    if together.count == 1:
        return
    path = workdir / "config.json"
    expected, since = together.of_first(_hash_of(path)), time.monotonic()
    while (found := _hash_of(path)) != expected and time.monotonic() - since < LATE_SECONDS:
        time.sleep(0.2)
    do = f"Choose a --workdir on a file system that all machines share; that of process 0 is {workdir.absolute()}."
    refuse_others(together, {"files in --workdir": found}, do=do)


def _hash_of(path: Path) -> str:
    """Compute the hash of a file; of one that is absent, that of an empty one."""
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def _code() -> str:
    """Compute the hash of the code of both packages."""
    total = hashlib.sha256()
    for package in (experiments, transformer):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            total.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return total.hexdigest()


def _differing_settings(first: Any, other: Any) -> str:
    return ", ".join(f"{name} {new} beside {old}" for name, old, new, _ in configs.differences(first, other)[:3])


def _differing(first: Any, other: Any) -> str:
    names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
    return ", ".join(f"{name} {other.get(name)} beside {first.get(name)}" for name in names[:3])
