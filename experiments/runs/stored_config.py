"""The config of an earlier run, read from its config.json: data, which runs no code without consent.

flag or recipe of this command line    the user's own wish: imported
config.json that names code            imported with `trust_code` alone
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import settings
from experiments.data.config import PATHS
from experiments.data.sources.reading import MissingFileError
from experiments.storage.workdir import read_record
from transformer import schema
from transformer.errors import UserError, problem
from transformer.named_code import choices, code_from_outside, import_modules, named_code


def stored_config(
    workdir: Path, *, trust_code: bool = False, paths: Sequence[tuple[str, str]] = ()
) -> tuple[Any, dict[str, Any]]:
    """Read the config of a run, and the record in config.json that holds it.

    Args:
        trust_code: consent to import the code that the file names.
        paths: the new places of data that has moved: names of settings and their texts, as flags have them.

    Raises:
        UserError: no run there, a damaged file, a setting that this version does not have or allow, code without
            consent, or a new place of what is no file of the run.
    """
    record = read_record(workdir)
    path = Path(workdir).absolute() / "config.json"
    code = record.get("code", {})
    registered = _registered(record["config"], code)
    named = named_code(settings.Config, record["config"]) | registered
    modules = {code[name]["module"] for name in registered} if registered.keys() == named.keys() else ()
    if trust_code:
        import_modules({code[name]["module"] for name in named if name in code})
    try:
        config = settings.from_json_dict(record["config"])
    except UserError as error:
        require_consent(named, path, trust_code, modules)
        raise UserError(f"in {path}: {error}") from error
    require_consent(named, path, trust_code, modules)
    values = {**record["config"], "data": settings.to_json_dict(config)["data"]}
    stored = {name: values["data"][name.removeprefix("data.")] for name in PATHS}
    new = {name: _new_place(stored, name, text) for name, text in paths}
    old = {name: _found(value, record.get("directory")) for name, value in stored.items()}
    values["data"] |= {name.removeprefix("data."): value for name, value in {**old, **new}.items()}
    return settings.from_stored(values), record


def earlier_config(workdir: Path) -> dict[str, Any] | None:
    """Return the config of the run in a directory, as its config.json has it; None where none was started.

    Raises:
        UserError: a damaged file.
    """
    return read_record(workdir)["config"] if (workdir / "config.json").exists() else None


def code_line(name: str) -> str:
    """Return the line about code from outside that has changed."""
    return f"note: the code that {name} names has changed since this run began"


def changed_code(config: Any, record: Mapping[str, Any]) -> list[str]:
    """List the settings of a run whose code from outside is not what it was."""
    old = record.get("code", {})
    return [
        name for name, own in code_from_outside(config).items() if name in old and own["sha256"] != old[name]["sha256"]
    ]


def _registered(config: Mapping[str, Any], code: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Collect the rows that a module registered for the run, and that have no such name here: setting -> the module."""
    leaves, values = schema.settings(settings.Config), schema.flatten(config)
    values = {choice: row for name in values for choice, row in choices(name, values[name]).items()}
    by_choice = {name: leaves.get(name, leaves.get(name.rpartition(".")[0])) for name in code if name in values}
    missing = [
        name
        for name, leaf in by_choice.items()
        if leaf is not None and isinstance(values[name], str) and values[name] not in (leaf.allowed or ())
    ]
    return {name: f"{values[name]} of {code[name]['module']}" for name in missing if ":" not in values[name]}


def _new_place(stored: Mapping[str, Any], name: str, text: str) -> Any:
    """Parse the new value of a setting that names files."""
    names = [name for name, value in stored.items() if value]
    if name not in names:
        expected = f"one of {', '.join(names)}" if names else "no setting: it read no files"
        raise problem(f"--config.{name} cannot be given for a run that is trained", expected=expected)
    value = schema.parse(text, settings.find(name))
    if isinstance(value, tuple) and len(value) != len(stored[name]):
        raise problem(f"{name} has another number of files", got=len(value), expected=len(stored[name]))
    return value


def _found(value: Any, directory: str | None) -> Any:
    """Return relative paths as they were where the run was trained, if something lies there still."""
    if isinstance(value, list):
        return [_found(part, directory) for part in value]
    if value is None or directory is None:
        return value
    there = os.path.join(directory, value)
    return there if os.path.exists(there) else value


@contextlib.contextmanager
def origin_named(workdir: Path) -> Iterator[None]:
    """Add to the error of a missing file of the run in `workdir` where it was trained, and the flag of a new place."""
    try:
        yield
    except MissingFileError as error:
        if not (workdir / "config.json").exists():
            raise
        record = read_record(workdir)
        data = record["config"].get("data")
        own = data.get(error.setting.removeprefix("data.")) if isinstance(data, Mapping) else None
        if error.setting not in PATHS or error.path not in (own if isinstance(own, list) else [own]):
            raise
        where = f" was trained in {record['directory']}" if "directory" in record else " is trained"
        do = f"If the data has moved, give its new place: --config.{error.setting}=PATH."
        raise UserError(f"{str(error).rstrip('.')}. The run in {workdir}{where}. {do}") from error


def require_consent(named: Mapping[str, str], file: Path, trust_code: bool, modules: Iterable[str] = ()) -> None:
    """Raise a UserError that names the code of a stored config, unless there is consent to run it.

    Args:
        named: full name of a setting -> the path of its code, as `named_code` collects them.
        file: the file, for the error.
        modules: those that register all of it, which may be imported by name.
    """
    if named and not trust_code:
        do = "Add --trust_code (in Python trust_code=True) if you trust the file and that code."
        if names := ",".join(sorted(modules)):
            do = f"Add --import={names}, or --trust_code (in Python trust_code=True), if you trust it."
        raise problem(
            f"{file} names code of Python, which would be run: "
            + ", ".join(f"{name} = {path}" for name, path in named.items()),
            do=do,
        )
