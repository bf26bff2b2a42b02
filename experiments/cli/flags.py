"""Command lines: flags, `--help`, and mistakes as errors of one line.

A command declares its own flags as a frozen dataclass of `setting`s, whose docstring `--help` prints:

    @dataclass(frozen=True)
    class TrainFlags:
        "Train a model."

        config: str = setting(REQUIRED, "recipe, a Python file")

    if __name__ == "__main__":
        run(main)

Flags are `--name=value` or `--name value`; one of type bool may stand alone. `--config.SECTION.NAME=value`
overrides a setting of the recipe. Of a flag that is given several times the last value counts, so that flags may be
added to a stored line. A command may take words that belong to no flag, as `cat` does; see `parse`.
"""

import contextlib
import dataclasses
import inspect
import os
import string
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from ml_collections import ConfigDict

from experiments import settings
from experiments.cli.compiler import guard
from experiments.cli.explain import explain
from experiments.cli.help import table
from experiments.cli.imports import IMPORT, import_named
from experiments.cli.names import last_part, nearest_setting
from experiments.cli.terminal import escape_unknown_characters
from transformer import schema
from transformer.errors import DASHES, LONGEST_MESSAGE, UserError, nearest, problem, shorten, synonym, typographic
from transformer.schema import Setting

T = TypeVar("T")

OVERRIDE = "config."


@dataclasses.dataclass(frozen=True)
class Required:
    """Default of a flag that must be given."""


REQUIRED = Required()

BAD_INPUT = 2
VALUES = """overrides a setting of the recipe; `none` unsets an optional one.
    A list is written A,B, or in JSON where a value holds a comma: '["a,b.txt"]'.
    Of a flag that is given twice, the last value counts."""
"""The values of overrides, in words."""

INTERRUPTED = 130
BROKEN_PIPE = 141


def parse(
    argv: Sequence[str], own_flags: type[T], *, overridable: bool | tuple[str, ...] = True, words: str | None = None
) -> tuple[T, list[tuple[str, str]]]:
    """Parse a command's own flags, and the overrides of its config as (full name, text).

    `--help` prints help and exits with code 0.

    Args:
        argv: the words after the command's name.
        own_flags: the schema of its own flags.
        overridable: whether it takes `--config.SECTION.NAME=value`; or the full names of the settings that it takes.
        words: name of the setting, of type tuple[str, ...], that receives the words which belong to no flag, and is no
            flag itself; None: such words are errors. With it, a list takes all words up to a flag.

    Raises:
        UserError: an unknown or missing flag, a word that belongs to none, a flag without value.
    """
    argv = import_named(argv)  # first: it may add rows to the tables that flags allow
    own = flags_of(own_flags)
    _answer_help(argv, own_flags, overridable, words)
    receiver = own.pop(words) if words is not None else None
    given: dict[str, str] = {}
    pairs, loose = _pairs(list(argv), own, overridable, receiver)
    for name, text in pairs:
        set_last(given, name, text, "--")
    values: dict[str, Any] = {}
    for name in (name for name in given if name in own):
        flag = dataclasses.replace(own[name], name=f"--{name}")
        values[name] = schema.checked(schema.parse(given[name], flag), flag)
    missing = [name for name, leaf in own.items() if leaf.default is REQUIRED and name not in values]
    if missing:
        listed = ", ".join(f"--{name} ({own[name].meaning})" for name in missing)
        do = "Add " + " ".join(f"--{name}={name.upper()}" for name in missing) + "; --help lists all."
        raise problem(f"{listed} must be given", do=do)
    if receiver is not None:
        values[receiver.name] = _checked_words(loose, receiver)
    overrides = [(name.removeprefix(OVERRIDE), text) for name, text in given.items() if name not in own]
    fields = {field.name.rstrip("_"): field.name for field in dataclasses.fields(own_flags)}
    return own_flags(**{fields[name]: value for name, value in values.items()}), overrides


def flags_of(own_flags: type) -> dict[str, Setting]:
    """Return the flags of a command by their names; a field `from_`, whose name Python reserves, is `--from`."""
    leaves = [dataclasses.replace(leaf, name=leaf.name.rstrip("_")) for leaf in schema.settings(own_flags).values()]
    return {leaf.name: leaf for leaf in leaves}


def set_last(given: dict[str, str], name: str, text: str, prefix: str) -> None:
    """Set the text of a flag; where it had another one before, print a line on standard error."""
    if given.get(name, text) != text:
        print(f"note: {prefix}{name} is given twice; the last value counts: {shorten(text)}", file=sys.stderr)
    given[name] = text


def _pairs(
    words: list[str], own: dict[str, Setting], overridable: bool | tuple[str, ...], receiver: Setting | None
) -> tuple[list[tuple[str, str]], list[str]]:
    """Split the words into pairs of flag and text, in their order, and the words for `receiver`, if there is one."""
    pairs, loose = [], []
    while words:
        word = words.pop(0)
        if receiver is not None and not word.startswith("-"):
            loose.append(word)
            continue
        if not word.startswith("--") or word == "--":
            raise _not_a_flag(word, own, overridable)
        name, equals, text = word[2:].partition("=")
        leaf = _flag(name, own, overridable, receiver)
        if not equals and receiver is not None and name in own and leaf.is_tuple:
            text = _all_following(name, leaf, words)
        elif not equals:
            text = _following(name, leaf, words, alone="true" if name in own and leaf.plain_type is bool else None)
        if not text and leaf.default is REQUIRED:  # --workdir=$NOT_SET
            raise _no_value(name, leaf)
        pairs.append((name, text))
    return pairs, loose


def _checked_words(loose: list[str], receiver: Setting) -> tuple[str, ...]:
    """Check the words that belong to no flag."""
    if not loose and receiver.default is REQUIRED:
        raise problem(
            f"{_shown(receiver)} ({receiver.meaning}) must be given", do="Write them without a flag; see --help."
        )
    if not all(loose):  # $NOT_SET
        raise problem(f"one of {_shown(receiver)} is empty", expected=receiver.meaning)
    return schema.checked(tuple(loose), receiver) if loose else receiver.default


def _following(name: str, leaf: Setting, words: list[str], alone: str | None) -> str:
    """Take the next word as the value of a flag without `=`; return `alone` if it is no value of this flag."""
    following = words[0] if words and not words[0].startswith("--") else None
    if alone is not None and (following is None or following.lower() not in ("true", "false")):
        return alone
    if following is None:
        raise _no_value(name, leaf)
    if following.startswith("="):
        raise problem(f"--{name} is followed by a space", do=f"Write --{name}=VALUE without spaces.")
    return words.pop(0)


def _all_following(name: str, leaf: Setting, words: list[str]) -> str:
    """Take the words up to the next flag as the list that a flag without `=` has, as a shell writes `--flag runs/*`."""
    taken = []
    while words and not words[0].startswith("-"):
        taken.append(words.pop(0))
    if not taken:
        raise _no_value(name, leaf)
    return taken[0] if len(taken) == 1 else schema.show(tuple(taken))


def _no_value(name: str, leaf: Setting) -> UserError:
    expected = ", ".join(leaf.allowed) if leaf.allowed is not None else leaf.expected_type
    return problem(f"--{name} needs a value", expected=expected, do=f"Write --{name}=VALUE.")


def _shown(receiver: Setting) -> str:
    """Return the name that stands for the words which belong to no flag."""
    return f"{receiver.name.upper()} ..."


def _flag(name: str, own: dict[str, Setting], overridable: bool | tuple[str, ...], receiver: Setting | None) -> Setting:
    """Find the setting of a flag's name, or raise a UserError with the nearest one."""
    if name in own:
        return own[name]
    if overridable and name.startswith(OVERRIDE):
        found = settings.find(name.removeprefix(OVERRIDE))
        if isinstance(overridable, tuple) and found.name not in overridable:
            do = f"Of the settings, {', '.join(overridable)} can be given."
            raise problem(f"--{name} cannot be changed for a run that is trained", do=do)
        return found
    do = _guess(name, own, overridable)
    if name == "config" and "workdir" in own:
        do = "The config is that of the run in --workdir: leave it out."
    if receiver is not None and name in (receiver.name, "workdir"):
        do = f"{_shown(receiver)} are written without a flag; --help lists all."
    raise problem(f"unknown flag --{name}", do=do)


def _guess(name: str, own: dict[str, Setting], overridable: bool | tuple[str, ...]) -> str:
    if name.startswith("sweep."):
        return "experiments.sweep varies settings; --help lists the flags of this command."
    match = synonym(name, own) or nearest(name, [*own, "help"])
    leaves = schema.settings(settings.Config)
    of_config = match is None or synonym(name, dict.fromkeys(map(last_part, leaves)))
    if overridable is True and of_config:
        override = nearest_setting(name, leaves)
        match = OVERRIDE + override if override else match
    return f"Did you mean --{match}? --help lists all." if match else "--help lists all."


def _not_a_flag(word: str, own: dict[str, Setting], overridable: bool | tuple[str, ...]) -> UserError:
    """Build the error for a word that is neither a flag nor a flag's value."""
    name, equals, text = word.lstrip(f"{DASHES}{string.whitespace}\u00a0").partition("=")
    known = name in own or name.removeprefix(OVERRIDE) in schema.settings(settings.Config)
    typed = typographic(word)
    if word.endswith(".py") and "config" in own and not equals:
        do = f"Did you mean --config={word}?"
    elif known and (name in own or overridable is True):
        full = name if name in own or name.startswith(OVERRIDE) else OVERRIDE + name
        do = f"Did you mean --{full}={text or 'VALUE'}?"
    elif "workdir" in own and os.path.isdir(word):
        do = f"Did you mean --workdir={word}?"
    else:
        do = "Write flags as --name=value, and quotes around a value with spaces; --help lists all."
    do = f"{do} {typed}" if typed else do
    return problem(f"{word!r} belongs to no flag", do=do)


def _answer_help(argv: Sequence[str], own_flags: type, overridable: bool | tuple[str, ...], words: str | None) -> None:
    """Print help and exit, if a word asks for it."""
    for i, word in enumerate(argv):
        if word.startswith("--help=") or (word in ("--help", "-h")):
            following = argv[i + 1] if "=" not in word and i + 1 < len(argv) and words is None else ""
            section = word.partition("=")[2] or ("" if following.startswith("-") else following)
            if section:
                print(settings.help_text(section, _given(argv), _recipe(argv) if overridable is True else None))
            else:
                print(command_help(own_flags, overridable, words))
            raise SystemExit(0)


def _recipe(argv: Sequence[str]) -> ConfigDict | None:
    """Load the recipe that a command line names; None where it names none that can be loaded."""
    words = [word.removeprefix("--config=") for word in argv if word.startswith("--config=")]
    with contextlib.suppress(UserError):
        return settings.load_recipe(words[-1]) if words else None
    return None


def _given(argv: Sequence[str]) -> list[tuple[str, str]]:
    """Collect the overrides among words of a command line: full name, text."""
    prefix = f"--{OVERRIDE}"
    pairs = (word.removeprefix(prefix).partition("=")[::2] for word in argv if word.startswith(prefix) and "=" in word)
    return [(name, text) for name, text in pairs]


def command_help(own_flags: type, overridable: bool | tuple[str, ...] = True, words: str | None = None) -> str:
    """Build the text of `--help`: the command's purpose, its words and flags, the sections of the config."""
    own = flags_of(own_flags)
    receiver = own.pop(words) if words is not None else None
    flags = table(list(own.values()), prefix="--", required=REQUIRED) if own else ""
    received = f"  {_shown(receiver)}  {receiver.meaning}" if receiver is not None else ""
    parts = [inspect.cleandoc(own_flags.__doc__ or ""), received, flags]
    if overridable is True:
        parts.append(f"  --{OVERRIDE}SECTION.NAME=VALUE  {VALUES}")
        parts.append(settings.help_text())
    if overridable or "workdir" in own:
        parts.append(f"  {IMPORT}=MODULE,...  modules to import first, which may register rows of tables")
    return "\n\n".join(part for part in parts if part)


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit.

    A mistake that the user can correct prints one line, and the code is 2; a bug keeps its traceback. What the encoding
    of the terminal cannot show is escaped. Passes of the compiler that compute wrong values are turned off.
    """
    escape_unknown_characters()
    try:
        if (line := guard()) is not None:
            print(f"note: {line}", file=sys.stderr)
        code = main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has ended; the interpreter's own last flush must not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        print(f"error: {shorten(line, LONGEST_MESSAGE)}", file=sys.stderr)
        code = BAD_INPUT
    raise SystemExit(code or 0)
