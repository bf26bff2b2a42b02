"""Settings that rows bring along: a schema grows a section for each row from outside that has settings of its own.

    model.position = "kerple"    ->    model.position_settings.NAME, the fields of the row's `settings`

`extended` makes the schema of a config from the rows that its values choose; without such rows it is the schema itself.
"""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any

from transformer.errors import problem
from transformer.named_code import DOTTED_PATH
from transformer.nested import types_of
from transformer.tables import OWN, Row, Table


def extended(schema: type, values: Mapping[str, Any], name: str = "", *, import_code: bool = True) -> type:
    """Return the schema with the own settings of the rows that values choose.

    Args:
        values: a nested dict of settings; what it lacks has its default.
        name: full name of the section, for errors.
        import_code: False: rows that a path names are not imported, and add nothing.

    Raises:
        UserError: code that a path names cannot be imported, or is no row of its table.
    """
    hints = types_of(schema)
    sections: dict[str, type] = {}
    own: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        full, value = f"{name}.{field.name}".lstrip("."), values.get(field.name, field.default)
        if dataclasses.is_dataclass(hints[field.name]):
            inside = value if isinstance(value, Mapping) else {}
            section = extended(typing.cast(type, hints[field.name]), inside, full, import_code=import_code)
            if section is not hints[field.name]:
                sections[field.name] = section
        elif field.metadata.get("table") is not None:
            settings = _settings(field.metadata["table"], full, value, import_code)
            if settings is not None:
                _refuse_clash(schema, field.name, full)
                own[field.name] = settings
    return _with(schema, tuple(sections.items()), tuple(own.items())) if sections or own else schema


def _refuse_clash(schema: type, setting: str, full: str) -> None:
    """Raise a UserError where a schema has a setting of its own under the name of a row's own settings."""
    field = next((field for field in dataclasses.fields(schema) if field.name == setting + OWN), None)
    if field is not None and not field.metadata.get("own"):
        what = f"the own settings of the row that {full} names clash with the setting {full}{OWN}"
        raise problem(what, do="Choose a row without settings of its own.")


def _settings(table: Table[Any], name: str, value: Any, import_code: bool) -> Any:
    """Return the own settings of the row that a value chooses; None without any, or where there is no such row."""
    if isinstance(value, str) and ":" in value:
        is_path = DOTTED_PATH.fullmatch(value) is not None
        return table.find(value, name).settings if import_code and is_path else None
    if isinstance(value, str):
        return table[value].settings if value in table else None
    # Of several rows in a tuple, each has its defaults.
    return None if value is None or isinstance(value, tuple | list) else table.row(value, name).settings


@functools.cache
def _with(schema: type, sections: tuple[tuple[str, type], ...], own: tuple[tuple[str, Any], ...]) -> type:
    """Make the schema with other sections, and with new ones for the own settings of rows."""
    fields = {field.name: field for field in dataclasses.fields(schema)}
    new: list[tuple[str, Any, Any]] = [
        (name, section, dataclasses.field(default_factory=section, metadata=fields[name].metadata))
        for name, section in sections
    ]
    for name, settings in own:
        metadata = {
            "meaning": f"own settings of the row that {name} names",
            "read_by": fields[name].metadata["read_by"],
            "own": True,
        }
        factory = functools.partial(_same, settings)
        new.append((name + OWN, type(settings), dataclasses.field(default_factory=factory, metadata=metadata)))
    made = dataclasses.make_dataclass(schema.__name__, new, bases=(schema,), frozen=True)
    made.__doc__ = schema.__doc__
    return made


def _same(settings: Any) -> Any:
    return settings


def is_own(schema: type, name: str) -> bool:
    """Return whether a name is that of the own settings of a row that a setting of the schema may choose."""
    rows = {field.name for field in dataclasses.fields(schema) if field.metadata.get("table") is not None}
    return name.endswith(OWN) and name.removesuffix(OWN) in rows


def without_leftovers(schema: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values without the own settings of rows that they do not choose any more."""
    schema = extended(schema, values)
    hints = types_of(schema)
    now = {field.name for field in dataclasses.fields(schema)}
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if name not in now and is_own(schema, name):
            continue
        nested = isinstance(value, Mapping) and name in now and dataclasses.is_dataclass(hints[name])
        kept[name] = without_leftovers(hints[name], value) if nested else value
    return kept


def named_rows(schema: type, values: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Return nested values with the names or paths of rows in place of rows, as JSON can hold them.

    Raises:
        UserError: a row that no name or path stands for.
    """
    fields = {field.name: field for field in dataclasses.fields(schema)}
    hints = types_of(schema)
    named: dict[str, Any] = {}
    for key, value in values.items():
        full = f"{name}.{key}".lstrip(".")
        table = fields[key].metadata.get("table") if key in fields else None
        if table is not None and isinstance(value, Row):
            named[key] = table.name_of(value, full)
        elif table is not None and isinstance(value, list):
            named[key] = [table.name_of(part, full) for part in value]
        else:
            named[key] = named_rows(hints[key], value, full) if isinstance(value, Mapping) else value
    return named
