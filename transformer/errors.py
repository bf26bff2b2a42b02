"""Errors that a user can act on: the mistake, what was given, what is allowed, what to do."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST_VALUE = 300
"""Maximum length of a value within a message (characters)."""

LONGEST_MESSAGE = 2000
"""Maximum length of a message (characters)."""


class UserError(ValueError):
    """A mistake in what the caller gave; command lines print it as it is and exit with code 2.

    A message of more than `LONGEST_MESSAGE` characters is shortened in its middle.
    """

    def __init__(self, message: object) -> None:
        super().__init__(shorten(str(message), LONGEST_MESSAGE))


def shorten(text: str, most: int = LONGEST_VALUE) -> str:
    """Return the text, or its beginning and end where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    middle = f" ... ({len(text):,} characters) ... "
    left = (most - len(middle)) // 2
    return f"{text[: most - len(middle) - left]}{middle}{text[len(text) - left :]}"


def problem(what: str, *, got: Any = None, expected: Any = None, do: str | None = None) -> UserError:
    """Return the error to raise: `what`, then got (shortened), expected and do where they are given, on one line."""
    parts = [what]
    if got is not None:
        parts.append(f"got {shorten(str(got))}")
    if expected is not None:
        parts.append(f"expected {expected}")
    line = "; ".join(parts)
    return UserError(f"{line}. {do}" if do else line)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` was most likely meant to be, or None if none is close."""
    spelled = {plain_spelling(n): n for n in names}
    name = plain_spelling(name)
    close = difflib.get_close_matches(name, spelled, n=1, cutoff=0.6)
    if not close and len(name) > 3:  # num_layer -> num_layers is close as a whole; layers -> num_layers only as a part
        close = [n for n in spelled if n and (name in n or n in name)]
    return spelled[close[0]] if close else None


def plain_spelling(name: str) -> str:
    """Spell a name as this project does: RoPE and Pre-Norm become rope and pre_norm."""
    return name.lower().replace("-", "_")


def unknown(what: str, name: str, names: Iterable[str]) -> UserError:
    """Return the error for a name that is not among `names`; it names the nearest one, and all of them."""
    names = sorted(names)
    guess = nearest(name, names)
    do = f"Did you mean {guess!r}?" if guess else None
    return problem(f"unknown {what}", got=repr(name), expected="one of " + ", ".join(names), do=do)


def look_up(what: str, table: Mapping[str, Any], name: str) -> Any:
    """Return the row `name` of a table, or an object of the user's own named as `package.module:attribute`.

    Raises:
        UserError: no such row, or the dotted path cannot be imported.
    """
    if name in table:
        return table[name]
    if ":" not in name:
        raise unknown(what, name, table)
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the module is the user's own, and may raise anything
        raise problem(
            f"{what} {name!r} cannot be imported: {type(error).__name__}: {error}",
            expected="package.module:attribute, importable from here",
            do="Check the spelling, and that its folder is on PYTHONPATH.",
        ) from error
    return found


def path_of(function: Any) -> str:
    """Return the path package.module:name of a function, for errors; that of a class where it has no name.

    >>> path_of(path_of)
    'transformer.errors:path_of'
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"
