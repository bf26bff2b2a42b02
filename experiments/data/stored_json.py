"""The reader of stored JSON: a file of a run, of a study or of the user is data, whatever it holds.

    shape                                   holds
    str, bool, int, float, dict, list       a text, true or false, a whole number, a number, an object, a list
    object                                  anything
    None                                    null
    [shape]                                 a list of it
    (shape, shape)                          one of them
    Fields(required, optional, others)      an object with these keys
    Checked(shape, check)                   what a `schema.Check` allows too

Every file is read as UTF-8. Nesting has a depth, whole numbers fit in 64 bits, numbers are finite, and texts have no
half of a surrogate pair, unless a file may hold names that are no UTF-8.
"""

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformer.errors import UserError, problem, shorten
from transformer.schema import Check

DEEPEST = 100
"""Levels of lists and objects in each other."""

LARGEST = 2**63
"""Bound of whole numbers."""

SURROGATE = re.compile("[\ud800-\udfff]")

Shape = Any
"""Description of a value; see the table above."""

WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
    None: "null",
}
"""Type -> its words in a message."""


class Fields(NamedTuple):
    """An object: the shapes of the fields that it must have, of those that it may have, and of any other field."""

    required: Mapping[str, Shape]
    optional: Mapping[str, Shape] = {}
    others: Shape = object


class Checked(NamedTuple):
    """A value of a shape that passes a check too."""

    shape: Shape
    check: Check


def whole(low: int, high: int) -> Checked:
    """Return the shape of a whole number from `low` to `high`, both included."""
    return Checked(int, Check(lambda value: low <= value <= high, f"a whole number from {low:,} to {high:,}"))


def read_json(
    path: str | os.PathLike, shape: Shape = object, *, do: str | None = None, surrogates: bool = False
) -> Any:
    """Read a JSON file of this shape.

    Args:
        do: advice to the user who has a damaged file.
        surrogates: whether a text may hold half of a surrogate pair, as names of files that are no UTF-8 do.

    Raises:
        UserError: no such file, no regular file, unreadable, no JSON, or of another shape; the error names the file.
    """
    return parse_json(read_text(path, do=do), str(path), shape, do=do, surrogates=surrogates)


def read_text(path: str | os.PathLike, *, do: str | None = None) -> str:
    """Read a file as UTF-8.

    Raises:
        UserError: no such file, no regular file, unreadable or no UTF-8.
    """
    return decoded(read_bytes(path, do=do), str(path), do=do)


def read_bytes(path: str | os.PathLike, *, do: str | None = None) -> bytes:
    """Read a regular file; a named pipe, for instance, would never end.

    Raises:
        UserError: no such file, no regular file, or unreadable.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error.strerror or str(error), do) from error
    raise unreadable(path, "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file", do)


def decoded(data: bytes, name: str, *, do: str | None = None) -> str:
    """Decode UTF-8 without a byte order mark. Raises UserError for other bytes."""
    try:
        return data.decode().removeprefix("\N{BYTE ORDER MARK}")
    except UnicodeDecodeError as error:
        raise unreadable(name, f"it is not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start}", do) from error


def parse_json(text: str, name: str, shape: Shape = object, *, do: str | None = None, surrogates: bool = False) -> Any:
    """Parse the text of a file of this shape; `name` stands for the file in errors.

    Raises:
        UserError: no JSON, or of another shape.
    """
    if not text.strip():
        raise unreadable(name, "it is empty", do)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise unreadable(name, f"it is nested more than {DEEPEST} levels deep", do) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, character {error.colno}" if "\n" in text else f"character {error.colno}"
        raise unreadable(name, f"it is not JSON: {error.msg} at {where}", do) from error
    except ValueError as error:  # a whole number of thousands of digits, or NaN
        raise unreadable(name, str(error).partition(";")[0], do) from error
    why = flaw(value, shape, surrogates=surrogates)
    if why is not None:
        raise unreadable(name, why, do)
    return value


def flaw(value: Any, shape: Shape, *, surrogates: bool = False, finite: bool = True) -> str | None:
    """Describe what is wrong with a value that was decoded from JSON; None: nothing.

    Args:
        surrogates: whether a text may hold half of a surrogate pair.
        finite: whether numbers must be finite; Python's own writer of JSON has words for those that are not.
    """
    return _unfit(value, surrogates, finite) or misfit(value, shape)


def unreadable(name: object, why: str, do: str | None) -> UserError:
    """Return the error of a stored file that cannot be read."""
    return problem(f"{name} cannot be read: {shorten(why)}", do=do)


def misfit(value: Any, shape: Shape, where: str = "") -> str | None:
    """Describe where a value is not of a shape; None: it is.

    Args:
        where: the place of the value within the file.
    """
    if isinstance(shape, Checked):
        own = misfit(value, shape.shape, where)
        expected = shape.check(value) if own is None else None
        return own if expected is None else f"{where or 'it'} is {_shown(value)}, expected {expected}"
    if isinstance(shape, tuple) and not isinstance(shape, Fields):
        found = [misfit(value, one, where) for one in shape]
        return None if None in found else f"{where or 'it'} is {_shown(value)}, expected {_words(shape)}"
    if isinstance(shape, list):
        parts = enumerate(value) if isinstance(value, list) else ()
        found = (misfit(part, shape[0], f"{where}[{i}]") for i, part in parts)
        return next(filter(None, found), None) if isinstance(value, list) else _other(value, shape, where)
    if not isinstance(shape, Fields):
        return None if _is(value, shape) else _other(value, shape, where)
    return _misfit_fields(value, shape, where) if isinstance(value, dict) else _other(value, shape, where)


def _misfit_fields(value: dict, shape: Fields, where: str) -> str | None:
    """Describe where an object is not of a shape."""
    missing = [key for key in shape.required if key not in value]
    if missing:
        return f"{where or 'it'} has no {', '.join(map(repr, missing))}"
    known = {**shape.required, **shape.optional}
    prefix = f"{where}." if where else ""
    found = (misfit(part, known.get(key, shape.others), f"{prefix}{key}") for key, part in value.items())
    return next(filter(None, found), None)


def _is(value: Any, kind: Any) -> bool:
    if kind is object:
        return True
    if kind is None or value is None:
        return value is kind
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _other(value: Any, shape: Shape, where: str) -> str:
    return f"{where or 'it'} is {_shown(value)}, expected {_words(shape)}"


def _words(shape: Shape) -> str:
    if isinstance(shape, Checked):
        return shape.check.expected
    if isinstance(shape, Fields):
        return WORDS[dict]
    if isinstance(shape, tuple):
        return " or ".join(map(_words, shape))
    return WORDS[list] if isinstance(shape, list) else WORDS[shape]


def _shown(value: Any) -> str:
    kind = next((words for own, words in WORDS.items() if own is not float and _is(value, own)), WORDS[float])
    return kind if isinstance(value, dict | list) or value is None else f"{shorten(repr(value), 80)} ({kind})"


def _unfit(value: Any, surrogates: bool, finite: bool) -> str | None:
    """Describe what no stored file may hold; None: the value holds none of it."""
    level = [value]
    for _ in range(DEEPEST):
        for part in level:
            if finite and isinstance(part, float) and not math.isfinite(part):
                return "a number is too large"
            if isinstance(part, int) and not -LARGEST <= part < LARGEST:
                return "a whole number has more than 64 bits"
            if isinstance(part, str) and not surrogates and not part.isascii() and SURROGATE.search(part):
                return "a text has half of a surrogate pair"
        tables = [part for part in level if isinstance(part, dict)]
        if not surrogates and any(SURROGATE.search(key) for table in tables for key in table if not key.isascii()):
            return "a key has half of a surrogate pair"
        lists = [part for part in level if isinstance(part, list)]
        level = [inner for table in tables for inner in table.values()] + [inner for one in lists for inner in one]
    return f"it is nested more than {DEEPEST} levels deep" if level else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number of JSON")
