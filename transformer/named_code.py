"""Code that settings name by a dotted path: listed before it is imported, so that a command can ask for consent."""

import dataclasses
import re
from typing import Any

from transformer.errors import look_up

DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""A path package.module:attribute."""


def named_code(instance: Any, name: str = "") -> dict[str, str]:
    """Collect the code that settings name by a dotted path: full name -> path. Nothing is imported.

    Whoever reads settings that others wrote asks for consent by this list, before anything uses them.
    """
    prefix = name + "." if name else ""
    found: dict[str, str] = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if dataclasses.is_dataclass(value):
            found |= named_code(value, prefix + field.name)
        elif field.metadata.get("by_path"):
            parts = value if isinstance(value, tuple) else (value,)
            paths = [part for part in parts if isinstance(part, str) and ":" in part]
            found |= {prefix + field.name: ", ".join(paths)} if paths else {}
    return found


def import_code(instance: Any, name: str = "") -> None:
    """Import the code that settings name by a dotted path, so that a mistake in it is found before it is used.

    Raises:
        UserError: it cannot be imported; the error names the setting.
    """
    for setting_name, paths in named_code(instance, name).items():
        for path in paths.split(", "):
            look_up(setting_name, {}, path)
