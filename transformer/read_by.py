"""Readers of settings: the choices of other settings with which a setting is read, as conditions on its field.

    beta1: float = setting(0.9, "decay rate of the mean gradient", read_by=when("optimizer.name", "adamw", "lion"))

A setting is read if all of its conditions hold, those of the sections around it first. The first one that fails gives
the error of a config that sets it. A setting without conditions is always read.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from transformer.errors import UserError, problem
from transformer.tables import Table, is_section


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition under which a setting is read.

    Attributes:
        names: full names of the settings or sections that decide; one that is not read itself decides nothing.
        holds: their values -> True where the setting is read.
        who: their values -> the words for what does not read it.
        expected: what reads it, in words.
        do: what a user should do who sets it nevertheless.
        where: the architectures that the condition concerns, in words; "": all.
        part: the part of a section that alone has this condition; "": all of it.
        gives_way: True where `names` of a recipe are reset to none once a flag gives the setting.
        quiet: True where a recipe may give the setting beside `names`, for its other choices: it is kept, unread.
        noted: True where the setting is a wish: it is kept as a quiet one is, and a flag for it is noted, no error.
    """

    names: tuple[str, ...]
    holds: Callable[..., bool]
    who: Callable[..., str]
    expected: str
    do: str
    where: str = ""
    part: str = ""
    gives_way: bool = False
    quiet: bool = False
    noted: bool = False

    def of(self, part: str) -> "Condition":
        """Return the condition for one part of the section that it is given for."""
        return dataclasses.replace(self, part=part)


def when(name: str, *values: Any, choice: str | None = None, do: str | None = None) -> Condition:
    """Return the condition that the setting `name` has one of some values.

    Args:
        choice: words for the setting in the error; None: its name.
        do: what the error advises; None: to set one of the values.
    """
    words = [str(value) for value in values]
    return Condition(
        (name,),
        holds=lambda value: value in values,
        who=lambda value: f"{choice or name} {value!r}",
        expected=", ".join(words),
        do=do or f"Leave it out, or set {name}={' or '.join(words)}.",
    )


def when_row_reads(name: str, table: Table[Any], part: str) -> Condition:
    """Return the condition that the row which the setting `name` chooses lists `part` among what it `reads`."""
    readers = [row for row in table if part in table[row].reads]
    return Condition(
        (name,),
        holds=lambda value: part in table.find(value).reads,
        who=lambda value: f"{name} {str(value)!r}",
        expected=", ".join(readers),
        do=f"Leave it out, or set {name}={' or '.join(readers)}.",
    )


def unless(*names: str, quiet: bool = False) -> Condition:
    """Return the condition that one of the settings `names`, which are read in place of this one, is none.

    Those of them that are set by a recipe give way to a flag; for `quiet`, see `Condition`.
    """
    return Condition(
        names,
        holds=lambda *values: None in values,
        who=lambda *values: "a config with " + " and ".join(map("{} {}".format, names, values)),
        expected=f"{'one of ' * (len(names) > 1)}{' and '.join(names)} set to none",
        do=f"Leave it out, or set {names[0]}=none.",
        gives_way=True,
        quiet=quiet,
    )


@dataclasses.dataclass(frozen=True)
class Unread:
    """A setting that is not read: its full name, and the parts of the error of a config that sets it.

    Attributes:
        quiet, noted: see `Condition`.
    """

    name: str
    who: str
    expected: str
    do: str
    quiet: bool = False
    noted: bool = False

    def error(self, got: Any) -> UserError:
        """Return the error to raise; `got` is the value that was given."""
        expected = f"it only with {self.expected}"
        return problem(f"{self.name} is not read by {self.who}", got=repr(got), expected=expected, do=self.do)


def unread(instance: Any, name: str = "") -> dict[str, Unread]:
    """Find the settings of a schema's instance that are not read.

    Args:
        instance: a whole config, or a section of one.
        name: full name of the section; settings outside it decide nothing.

    Returns:
        Full name -> who does not read it and the error of setting it.
    """
    by_setting = dict(conditions(instance, name))

    @functools.cache
    def failed(leaf: str) -> Unread | None:
        for condition in by_setting[leaf]:
            inside = all(within(other, name) for other in condition.names)
            if not inside or any(other in by_setting and failed(other) for other in condition.names):
                continue
            values = [_value(instance, other.removeprefix(name).removeprefix(".")) for other in condition.names]
            if not condition.holds(*values):
                found = Unread(leaf, condition.who(*values), condition.expected, condition.do)
                return dataclasses.replace(found, quiet=condition.quiet or condition.noted, noted=condition.noted)
        return None

    return {leaf: found for leaf in by_setting if (found := failed(leaf)) is not None}


def refuse_unread(instance: Any, name: str) -> None:
    """Raise a UserError for a setting whose default is none, that is given, and that is not read.

    Args:
        instance, name: as for `unread`.
    """
    for leaf, found in unread(instance, name).items():
        path = leaf.removeprefix(f"{name}.")
        if _value(type(instance)(), path) is None and (value := _value(instance, path)) is not None:
            raise found.error(value)


def within(name: str, section: str) -> bool:
    """Check that a name is that of a section or lies in it: "model.width" is in "model", and in ""."""
    return not section or f"{name}.".startswith(f"{section}.")


def conditions(
    instance: Any, name: str = "", outer: tuple[tuple[str, Condition], ...] = ()
) -> Iterator[tuple[str, list[Condition]]]:
    """Yield each setting's full name and its conditions, the outermost first."""
    for field in dataclasses.fields(instance):
        full, value = f"{name}.{field.name}".lstrip("."), getattr(instance, field.name)
        own = tuple((f"{full}.{c.part}".rstrip("."), c) for c in field.metadata.get("read_by", ()))
        if is_section(value):
            yield from conditions(value, full, outer + own)
        else:
            yield full, [condition for scope, condition in outer + own if within(full, scope)]


def _value(instance: Any, path: str) -> Any:
    """Return a setting or section by its path within an instance; the instance itself by ""."""
    return functools.reduce(getattr, path.split("."), instance) if path else instance
