"""Errors that a user can act on: the mistake, what was given, what is allowed, what to do."""

import difflib
import importlib
import inspect
import itertools
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from transformer.synonyms import SYNONYMS

T = TypeVar("T")

PACKAGES = ("transformer", "experiments")
"""Packages whose lines no warning names."""

LONGEST_VALUE = 300
"""Maximum length of a value within a message (characters)."""

MOST_LISTED = 16
"""Number of names that an error lists beside the one that was most likely meant."""

LONGEST_MESSAGE = 2000
"""Maximum length of a message (characters)."""


LONGEST_NAME = 300
"""Maximum length of a name that is compared with others (characters)."""

MOST_NAMES = 2000
"""Maximum number of names that one is compared with; more would take seconds."""
DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
"""The hyphen, and the characters that text editors and web pages put in its place."""

QUOTES = "\"'`\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e"
"""The quotes of a shell, and the typographic ones."""


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


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 trial", "2,500 trials".

    Args:
        noun: in the singular; the plural has an s.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def with_article(noun: str) -> str:
    """Return a noun with its article: "a list", "an int"."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def written(value: Any) -> str:
    """Return a value's `repr`; of a whole number with more digits than Python writes, their number."""
    try:
        return repr(value)
    except ValueError:
        return "a whole number of thousands of digits"


def problem(what: str, *, got: Any = None, expected: Any = None, do: str | None = None) -> UserError:
    """Return the error to raise: `what`, then got (shortened), expected and do where they are given, on one line."""
    parts = [what]
    if got is not None:
        parts.append(f"got {shorten(str(got))}")
    if expected is not None:
        parts.append(f"expected {expected}")
    line = "; ".join(parts)
    return UserError(f"{line}. {do}" if do else line)


def warn(text: str) -> None:
    """Warn the caller of this project: the line that the warning names is the caller's, not one of the project."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PACKAGES:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` was most likely meant to be, or None if none is close.

    Of more than `MOST_NAMES` only the first are compared, and none that is longer than `LONGEST_NAME`.
    """
    if len(name) > LONGEST_NAME:
        return None
    names = [known for known in itertools.islice(names, MOST_NAMES) if len(known) <= LONGEST_NAME]
    spelled = {plain_spelling(known): known for known in names}
    name = plain_spelling(name)
    if name not in spelled and (match := synonym(name, names)) is not None:
        return match
    close = difflib.get_close_matches(name, spelled, n=1, cutoff=0.6)
    if not close and len(name) > 3:  # num_layer -> num_layers is close as a whole; layers -> num_layers only as a part
        close = [n for n in spelled if len(n) > 2 and (name in n or n in name)]
    return spelled[close[0]] if close else None


def synonym(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that other libraries call `name`, or None."""
    known = set(names)
    return next((ours for ours in SYNONYMS.get(plain_spelling(name), ()) if ours in known), None)


def plain_spelling(name: str) -> str:
    """Spell a name as this project does: RoPE and Pre-Norm become rope and pre_norm."""
    return re.sub(f"[{DASHES} ]", "_", name.strip(f" {QUOTES}").lower())


def typographic(text: str) -> str | None:
    """Return what to do about quotes or dashes that a text editor or a web page has replaced; None without any."""
    found = [character for character in f"{DASHES}{QUOTES}" if not character.isascii() and character in text]
    return (
        f"It holds {' '.join(found)}, perhaps pasted from a text: type - and ' or \" in its place." if found else None
    )


def unknown(what: str, name: str, names: Iterable[str], do: str | None = None) -> UserError:
    """Return the error for a name that is not among `names`; it names the nearest one, and all where they are few.

    Args:
        do: what to do where no name is near.
    """
    names = sorted(names)
    guess = nearest(name, names)
    do = f"Did you mean {guess!r}?" if guess else do
    expected = None if guess and len(names) > MOST_LISTED else "one of " + ", ".join(names)
    return problem(f"unknown {what}", got=repr(name), expected=expected, do=do)


def find_row(what: str, table: Mapping[str, T], name: str) -> T:
    """Return the row `name` of a table. Raises UserError if there is none; the error names the nearest."""
    if name not in table:
        raise unknown(what, name, table)
    return table[name]


def look_up(what: str, table: Mapping[str, Any], name: str) -> Any:
    """Return the row `name` of a table, or an object of the user's own named as `package.module:attribute`.

    Raises:
        UserError: no such row, or the dotted path cannot be imported.
    """
    if name in table:
        return table[name]
    if ":" not in name:
        raise unknown(what, name, table)
    return imported(what, name)


def imported(what: str, path: str) -> Any:
    """Import a module, or an object as package.module:attribute, of the user's own.

    Args:
        what: what the path names, for errors.

    Raises:
        UserError: it cannot be imported.
    """
    module, colon, attribute = path.partition(":")
    try:
        found = importlib.import_module(module)
        return getattr(found, attribute) if colon else found
    except Exception as error:  # the module is the user's own, and may raise anything
        raise problem(
            f"{what} {shorten(repr(path))} cannot be imported: {shorten(f'{type(error).__name__}: {error}')}",
            expected=f"package.module{':attribute' if colon else ''}, importable from here",
            do=not_a_file(path) or "Check the spelling, and that its folder is on PYTHONPATH.",
        ) from error


def not_a_file(path: str) -> str | None:
    """Return what to write where code is named by its file; None where it is not.

    The names are those of the file and the folders that hold it: of a relative path all, of an absolute one those with
    an `__init__.py`.

    >>> not_a_file("my_lab/variants.py:cosine")
    'Write my_lab.variants:cosine, with the folder that holds my_lab in PYTHONPATH.'
    """
    module, colon, attribute = path.partition(":")
    if "/" not in module and not module.endswith(".py"):
        return None
    file = pathlib.PurePath(module.removesuffix(".py"))
    if not file.name.isidentifier():
        return None
    names = [file.name]
    for folder in file.parents:
        if not folder.name.isidentifier() or (file.is_absolute() and not os.path.exists(folder / "__init__.py")):
            break
        names.insert(0, folder.name)
    held = names[0] if len(names) > 1 else f"{names[0]}.py"
    dotted = shorten(f"{'.'.join(names)}{colon}{attribute}")
    return f"Write {dotted}, with the folder that holds {shorten(held)} in PYTHONPATH."


def path_of(function: Any) -> str:
    """Return the path package.module:name of a function, for errors; that of a class where it has no name.

    >>> path_of(path_of)
    'transformer.errors:path_of'
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"
