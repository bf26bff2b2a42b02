"""Code that settings name by a dotted path: listed before it is imported, so that a command can ask for consent."""

import dataclasses
import hashlib
import pathlib
import re
import sys
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from transformer.errors import imported
from transformer.nested import types_of
from transformer.tables import is_section

DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""A path package.module:attribute."""


def named_code(schema: type, values: Mapping[str, Any], name: str = "") -> dict[str, str]:
    """Collect the code that settings name by a dotted path: full name -> path. Nothing is imported.

    Whoever reads settings that others wrote asks for consent by this list, before anything uses them.

    Args:
        schema: the settings' dataclass.
        values: a nested dict of settings, as a file holds them.
        name: full name of the section.
    """
    hints = types_of(schema)
    found: dict[str, str] = {}
    for field in dataclasses.fields(schema):
        full, value = f"{name}.{field.name}".lstrip("."), values.get(field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            inside = value if isinstance(value, Mapping) else {}
            found |= named_code(typing.cast(type, hints[field.name]), inside, full)
        elif field.metadata.get("table") is not None:
            paths = choices(full, value).items()
            found |= {choice: path for choice, path in paths if isinstance(path, str) and ":" in path}
    return found


def choices(name: str, value: Any) -> dict[str, Any]:
    """Return the rows that a setting chooses by full name: of several, "task.metrics.0", "task.metrics.1" and so on."""
    several = isinstance(value, tuple | list)
    return {f"{name}.{i}": part for i, part in enumerate(value)} if several else {name: value}


def import_code(instance: Any, name: str = "") -> None:
    """Import and check the rows from outside that settings name, so that a mistake in one is found before it is used.

    Raises:
        UserError: it cannot be imported, or is no row of its table; the error names the setting.
    """
    for field in dataclasses.fields(instance):
        full, value = f"{name}.{field.name}".lstrip("."), getattr(instance, field.name)
        if is_section(value):
            import_code(value, full)
        elif (table := field.metadata.get("table")) is not None:
            for choice in choices(full, value).values():
                if choice is not None and not _is_name(choice):
                    row = table.find(choice, full)
                    table.check(row, f"{full} {str(choice if isinstance(choice, str) else row)!r}")


def import_modules(names: Iterable[str]) -> None:
    """Import modules, which may register rows of tables.

    Raises:
        UserError: a module that cannot be imported.
    """
    for name in names:
        imported("module", name)


def code_from_outside(instance: Any, name: str = "") -> dict[str, dict[str, str]]:
    """Collect the code from outside that a config uses: full name of a setting -> its module and the file's hash.

    The hash is the SHA-256 of the module's file, "" where it has none.
    """
    found: dict[str, dict[str, str]] = {}
    for field in dataclasses.fields(instance):
        full, value = f"{name}.{field.name}".lstrip("."), getattr(instance, field.name)
        if is_section(value):
            found |= code_from_outside(value, full)
        elif (table := field.metadata.get("table")) is not None:
            for choice, row in choices(full, value).items():
                module = None if row is None else table.module_of(row)
                if module is not None:
                    found[choice] = {"module": module, "sha256": _hash_of(module)}
    return found


def _hash_of(module: str) -> str:
    """Compute the SHA-256 of a module's file; "" where it has none that can be read."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return ""
    try:
        return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and ":" not in value
