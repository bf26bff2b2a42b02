"""Code that settings name by a dotted path: listed before it is imported, so that a command can ask for consent."""

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any

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
    hints = typing.get_type_hints(schema)
    found: dict[str, str] = {}
    for field in dataclasses.fields(schema):
        full, value = f"{name}.{field.name}".lstrip("."), values.get(field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            inside = value if isinstance(value, Mapping) else {}
            found |= named_code(typing.cast(type, hints[field.name]), inside, full)
        elif field.metadata.get("table") is not None and isinstance(value, str) and ":" in value:
            found[full] = value
    return found


def import_code(instance: Any, name: str = "") -> None:
    """Import and check the rows from outside that settings name, so that a mistake in one is found before it is used.

    Raises:
        UserError: it cannot be imported, or is no row of its table; the error names the setting.
    """
    for field in dataclasses.fields(instance):
        full, value = f"{name}.{field.name}".lstrip("."), getattr(instance, field.name)
        if is_section(value):
            import_code(value, full)
        elif (table := field.metadata.get("table")) is not None and not (value is None or _is_name(value)):
            table.check(table.find(value, full), full)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and ":" not in value
