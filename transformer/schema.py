"""Settings as frozen dataclasses: each field has a type, a default, a meaning and what it allows.

A schema is a frozen dataclass whose fields are made by `setting`. `from_dict` turns a nested dict into an
instance and `parse` turns the text of a flag into a value; both raise errors that give a setting's full name.
`show` is the inverse of `parse`.
"""

import dataclasses
import functools
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from transformer.errors import UserError, nearest, problem, typographic, unknown, written
from transformer.leaves import PLAIN as PLAIN
from transformer.leaves import Setting as Setting
from transformer.named_code import DOTTED_PATH
from transformer.nested import flatten, to_dict, types_of, with_values
from transformer.own_settings import extended, is_own
from transformer.ranges import (
    LARGEST,
    WIDEST,
    Check,
    a_seed,
    above,
    at_least,
    each,
    even,
    fraction,
    in_words,
    multiple,
    not_empty,
    share,
)
from transformer.read_by import Condition
from transformer.values import parse_part, split
from transformer.values import show as show

__all__ = [
    "LARGEST",
    "WIDEST",
    "Check",
    "Setting",
    "a_seed",
    "above",
    "at_least",
    "checked",
    "each",
    "even",
    "flatten",
    "fraction",
    "from_dict",
    "in_words",
    "multiple",
    "not_empty",
    "parse",
    "sections",
    "setting",
    "settings",
    "share",
    "show",
    "to_dict",
    "with_values",
]

T = typing.TypeVar("T")

NO_TEXT = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of surrogate pairs, which are no characters; without those that stand for a byte in a file's name."""


def setting(
    default: Any,
    meaning: str,
    *,
    allowed: Iterable[str] | None = None,
    check: Callable[[Any], str | None] | None = None,
    table: Any = None,
    changes_result: bool = True,
    read_by: Condition | tuple[Condition, ...] = (),
) -> Any:
    """Return a field of a schema.

    Args:
        default: an immutable value, or a schema class for a sub-section.
        meaning: one line for `--help`.
        allowed: the values, where they are a list; a tuple's are among them. Beside a `table`, further ones.
        check: value -> the words for what is expected where it is not allowed, else None; `--help` prints a `Check`'s.
        table: the `Table` of which the setting names a row: a name, a path `package.module:attribute`, or the row
            itself. A check of its type here would import the rows.
        changes_result: False where the setting cannot change the mathematics, so may differ on resume.
        read_by: the conditions under which the setting, or all of a section, is read; none: always.
    """
    metadata = {
        "meaning": meaning,
        "fixed": tuple(allowed) if allowed is not None else None,
        "check": check,
        "table": table,
        "changes_result": changes_result,
        "read_by": (read_by,) if isinstance(read_by, Condition) else read_by,
    }
    if isinstance(default, type) and dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def sections(schema: type) -> dict[str, type]:
    """Collect the sub-sections of a schema: name -> schema."""
    hints = types_of(schema)
    return {f.name: hints[f.name] for f in dataclasses.fields(schema) if dataclasses.is_dataclass(hints[f.name])}


def settings(schema: type, prefix: str = "") -> dict[str, Setting]:
    """Collect every leaf of a schema by its full name, in order, sub-sections included.

    Args:
        prefix: written before each name.
    """
    return dict(_settings(schema, prefix, None))


@functools.lru_cache(maxsize=1024)
def _settings(schema: type, prefix: str, defaults: Any) -> dict[str, Setting]:
    """Collect the leaves; `defaults` is an instance that has the defaults of a section, None: the schema's own."""
    hints = types_of(schema)
    found: dict[str, Setting] = {}
    for field in dataclasses.fields(schema):
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            inside = field.default_factory() if callable(field.default_factory) else None
            found.update(_settings(hints[field.name], name + ".", inside))
        else:
            default = field.default if defaults is None else getattr(defaults, field.name)
            found[name] = Setting(name, hints[field.name], default, **{**PLAIN, **field.metadata})
    return found


def parse(text: str, leaf: Setting) -> Any:
    """Parse the text of a flag as a value; `none` unsets an optional setting.

    Raises:
        UserError: the text is not of the setting's type.
    """
    if leaf.optional and text.strip().lower() == "none":
        return None
    try:
        if leaf.listed and ("," in text or text.lstrip().startswith("[")):
            return tuple(parse(part, leaf.in_list) for part in split(text) if part.strip())
        if leaf.is_tuple:
            return tuple(parse_part(part.strip(), leaf.part_type) for part in split(text) if part.strip())
        return parse_part(text, leaf.part_type)
    except (ValueError, KeyError, UserError) as error:
        got, do = repr(text), typographic(text)
        raise problem(f"{leaf.name} has the wrong type", got=got, expected=leaf.expected_type, do=do) from error


def checked(value: Any, leaf: Setting) -> Any:
    """Convert a value to the leaf's type (an int stands for a float, a list for a tuple), and check it.

    Raises:
        UserError: a value of another type, or one that the setting does not allow.
    """
    if value is None and leaf.optional:
        return None
    if leaf.table is not None and leaf.is_tuple and isinstance(value, tuple | list):
        part = dataclasses.replace(leaf, type=leaf.part_type)
        return tuple(checked(each, part) for each in value)
    if leaf.table is not None and not leaf.is_tuple and not isinstance(value, str):
        return leaf.table.row(value, leaf.name)
    if leaf.listed and isinstance(value, tuple | list):
        return tuple(checked(part, leaf.in_list) for part in value)
    if leaf.is_tuple:
        right = isinstance(value, tuple | list)
        parts = value = tuple(_as_type(part, leaf.part_type) for part in value) if right else value
    else:
        right = True
        value = _as_type(value, leaf.part_type)
        parts = (value,)
    if not right or not all(_is_type(part, leaf.part_type) for part in parts):
        given = f"{written(value)} ({type(value).__name__})"
        raise problem(f"{leaf.name} has the wrong type", got=given, expected=leaf.expected_type, do=_meant(value, leaf))
    for part in parts:
        if isinstance(part, str) and not part.isascii() and NO_TEXT.search(part):
            raise problem(
                f"{leaf.name} is no text of Unicode",
                got=ascii(part),
                expected="characters; a name of a file that is not UTF-8 has \\udc80 to \\udcff alone",
                do="Leave half of a surrogate pair out.",
            )
        if leaf.table is not None and ":" in part:
            if not DOTTED_PATH.fullmatch(part):
                raise problem(f"{leaf.name} {part!r} cannot be imported", expected="package.module:attribute")
        elif leaf.allowed is not None and part not in leaf.allowed:
            if leaf.table is not None:
                raise leaf.table.unknown(part, leaf.name, leaf.allowed)
            raise unknown(f"value of {leaf.name}", str(part), leaf.allowed)
    if leaf.check is not None and (expected := leaf.check(value)) is not None:
        raise problem(f"{leaf.name} is out of range", got=written(value), expected=expected)
    return value


def _meant(value: Any, leaf: Setting) -> str | None:
    """Return what to write in place of a number that is given as a text, or of a whole number that is a float."""
    text = show(value) if isinstance(value, str | float) else "none"
    try:
        meant = parse(f"{value:.0f}" if isinstance(value, float) and value.is_integer() else text, leaf)
    except UserError:
        return None
    return None if meant is None or isinstance(meant, str) else f"Write {meant!r}."


def _is_type(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _as_type(value: Any, kind: Any) -> Any:
    if kind is not float or not _is_type(value, int):
        return value
    try:
        return float(value)
    except OverflowError:  # 10^400
        return math.inf if value > 0 else -math.inf


def from_dict(schema: type[T], values: Mapping[str, Any], name: str = "", *, import_code: bool = True) -> T:
    """Build an instance of `schema` from a nested dict; an absent setting takes its default.

    Args:
        name: full name of the section, for errors.
        import_code: False: code that settings name by a path is not imported; own settings of such rows are left out.

    Raises:
        UserError: a name that the schema does not have, or a value that it does not allow.
    """
    return _build(extended(schema, values, name, import_code=import_code), values, name, import_code)


def _build(schema: type[T], values: Mapping[str, Any], name: str, import_code: bool) -> T:
    """Build an instance of a schema that has the own settings of the rows which values choose."""
    prefix = name + "." if name else ""
    kind: type = schema
    parts, leaves, known = sections(kind), settings(kind, prefix), dict.fromkeys(types_of(kind))
    made: dict[str, Any] = {}
    for key, value in values.items():
        if not import_code and key not in known and is_own(schema, key):
            continue
        if key not in known:
            raise _unknown_setting(str(key), known, settings(schema), name)
        if key in parts:
            if isinstance(value, parts[key]):
                value = to_dict(value)
            if not isinstance(value, Mapping):
                expected = "a dict of its settings"
                raise problem(f"{prefix}{key} is a section", got=written(value), expected=expected)
            made[key] = _build(parts[key], value, prefix + key, import_code)
        else:
            made[key] = checked(value, leaves[prefix + key])
    return schema(**made)


def _unknown_setting(key: str, known: Iterable[str], leaves: Iterable[str], name: str) -> UserError:
    """Build the error for a key that a section does not have: a setting of a section within it may be meant."""
    inside = {leaf.rpartition(".")[2]: leaf for leaf in leaves if "." in leaf}
    if nearest(key, known) is None and (guess := nearest(key, inside)) is not None:
        section, _, last = inside[guess].rpartition(".")
        got = f'{{"{section}": {{"{last}": ...}}}}'
        return problem(f"unknown setting of {name}", got=repr(key), do=f"Did you mean {got}?")
    return unknown(f"setting of {name}" if name else "setting", key, known)
