"""One setting of a schema: its type, default, meaning and what it allows."""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from typing import Any

from transformer.read_by import Condition
from transformer.tables import Table

PLAIN: dict[str, Any] = {
    "meaning": "",
    "fixed": None,
    "check": None,
    "table": None,
    "changes_result": True,
    "read_by": (),
}
"""Metadata of a field that is not made by `setting`, such as one of a row's own settings."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One leaf of a schema, as `--help` and the checks take it.

    Attributes:
        fixed: values that are allowed, beside the names of a table's rows; None: no list of them.
    """

    name: str
    type: Any
    default: Any
    meaning: str
    fixed: tuple[str, ...] | None
    check: Callable[[Any], str | None] | None
    table: Table[Any] | None
    changes_result: bool
    read_by: tuple[Condition, ...] = ()

    @property
    def allowed(self) -> tuple[str, ...] | None:
        """The values that are allowed, with the rows that a table has now; None: there is no list of them."""
        return self.fixed if self.table is None else (*(self.fixed or ()), *self.table)

    @functools.cached_property
    def optional(self) -> bool:
        return type(None) in typing.get_args(self.type)

    @functools.cached_property
    def plain_type(self) -> Any:
        """The type without `| None`, and of one value where a list of them is allowed too."""
        return _first(self.type)

    @functools.cached_property
    def part_type(self) -> Any:
        """The type of a tuple's parts; of anything else, its own."""
        plain = self.plain_type
        return _first(typing.get_args(plain)[0]) if self.is_tuple else plain

    @functools.cached_property
    def is_tuple(self) -> bool:
        return typing.get_origin(self.plain_type) is tuple

    @functools.cached_property
    def listed(self) -> bool:
        """True for one value or a list of them: `int | tuple[int | None, ...]`."""
        return not self.is_tuple and any(typing.get_origin(t) is tuple for t in typing.get_args(self.type))

    @functools.cached_property
    def in_list(self) -> "Setting":
        """The setting of one part of such a list; it is optional where the parts are."""
        parts = next(typing.get_args(t)[0] for t in typing.get_args(self.type) if typing.get_origin(t) is tuple)
        return dataclasses.replace(self, type=parts)

    @property
    def type_name(self) -> str:
        text = f"{self.part_type.__name__},..." if self.is_tuple else self.part_type.__name__
        text = f"{text} or {text},..." if self.listed else text
        return f"{text} or none" if self.optional else text

    @property
    def expected_type(self) -> str:
        """The type in words, for an error."""
        words = {bool: "true or false", int: "int (a whole number)", float: "float (a number)"}
        text = words.get(self.part_type, self.part_type.__name__)
        text = f"values of type {text}, separated by commas" if self.is_tuple else text
        text = f"{text}, or several separated by commas" if self.listed else text
        return f"{text}, or none" if self.optional else text


def _first(kind: Any) -> Any:
    """Return the first of the types of a union that is not None; any other type itself."""
    if typing.get_origin(kind) not in (types.UnionType, typing.Union):
        return kind
    return next(t for t in typing.get_args(kind) if t is not type(None))
