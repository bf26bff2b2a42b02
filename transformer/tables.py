"""Tables of variants: a row for each name, open to rows from outside.

    POSITIONS = Table("position", Position, {"rotary": Position(...), ...})

    a name         POSITIONS.find("rotary")
    a path         POSITIONS.find("my_lab.variants:kerple")       imported when it is looked up
    an object      POSITIONS.find(Position(...))                  or what the table makes a row from, such as a function
    a new name     register("position", "kerple", Position(...))  for this process

A row may have settings of its own: a frozen dataclass, whose fields become settings of the config beside the one that
names the row (`model.position` -> `model.position_settings.NAME`). The row's functions then take them as the keyword
`settings`. Registered rows are the only state of this package that a call changes.
"""

import dataclasses
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from transformer.errors import UserError, look_up, path_of, problem, shorten, unknown, with_article, written

OWN = "_settings"
"""Ending of the section with a row's own settings: `position` -> `position_settings`."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """A row of a table; subclasses are dataclasses with `frozen=True, eq=False`.

    Attributes:
        settings: the row's own settings, an instance of a frozen dataclass (a class stands for its defaults); None:
            there are none.
        exempt: properties of `transformer.testing.check` that the row need not have -> the reason.
        path: the path that the row was found by; it does not count in comparisons.
    """

    settings: Any = None
    exempt: Mapping[str, str] = dataclasses.field(default_factory=dict)
    path: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.settings, type):
            object.__setattr__(self, "settings", self.settings())
        if self.settings is not None and not dataclasses.is_dataclass(self.settings):
            what = f"the settings of a {type(self).__name__} are no dataclass"
            raise problem(what, got=shorten(repr(self.settings)), expected="a frozen dataclass, or None")

    @property
    def own(self) -> dict[str, Any]:
        """The keyword that the row's functions take: its settings, where it has any."""
        return {} if self.settings is None else {"settings": self.settings}

    def __str__(self) -> str:
        """Return the path that the row was found by, else that of its first function, or what `repr` returns."""
        return self.path or next((path_of(part) for part in self._parts() if callable(part)), repr(self))

    def _parts(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "path")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(
            type(self)
        )  # mappings among the parts have no hash; a row is an attribute of modules, which need one


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A learned parameter that a row brings along.

    Attributes:
        axes: "N H -> H" for a matrix that is applied (inputs on the left of the arrow), "P, D" for a table that is
            looked up, "N H" for a vector; the letters are those of `transformer.axes.LEGEND`.
        start: its initial values: a number, or (key, shape) -> array; None: those of its kind (a matrix has variance
            1 / fan-in, a table 1 / D, a vector is zero).
    """

    axes: str
    start: Callable[[Any, tuple[int, ...]], Any] | float | None = None


Choice = str | Row
"""Value of a setting that chooses a row: its name, a path package.module:attribute, or the row itself."""


def is_section(value: Any) -> bool:
    """Return whether a value of a config is a section: a dataclass, and no row of a table."""
    return dataclasses.is_dataclass(value) and not isinstance(value, Row | type)


R = TypeVar("R", bound=Row)

TABLES: dict[str, "Table[Any]"] = {}
"""Axis -> its table, of those that have been imported."""


class Table(Mapping[str, R], Generic[R]):
    """The rows of one axis by name.

    Args:
        axis: what a row is, in words, such as "position".
        kind: class of the rows.
        rows: name -> row; or the path package.module:attribute of such a mapping, which is imported on first use.
        make: makes a row from another object, such as a function; None: rows alone are taken.
        expected: what a row may be given as, in words.
        check: raises a UserError for a row from outside that cannot be used; it may call it on a small example.
    """

    def __init__(
        self,
        axis: str,
        kind: type[R],
        rows: Mapping[str, R] | str,
        *,
        make: Callable[[Any], R] | None = None,
        expected: str | None = None,
        check: Callable[[R, str], None] | None = None,
    ) -> None:
        self.axis, self.kind = axis, kind
        self.expected = expected or f"a {kind.__module__}.{kind.__qualname__}"
        self._rows, self._make, self._check = rows, make, check
        self._own: dict[str, R] = {}
        self._modules: dict[str, str] = {}
        TABLES[axis] = self

    def __repr__(self) -> str:
        return f"<table of {self.axis}: {', '.join(self)}>"

    def _all(self) -> Mapping[str, R]:
        if isinstance(self._rows, str):
            self._rows = cast(Mapping[str, R], look_up(f"the table of {self.axis}", {}, self._rows))
        return {**self._rows, **self._own} if self._own else self._rows

    def __getitem__(self, name: str) -> R:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def find(self, value: Any, what: str | None = None) -> R:
        """Return the row of a name, of a path package.module:attribute, or of an object.

        Args:
            what: what names the row, for errors, such as "model.position"; None: the axis.

        Raises:
            UserError: no such row, not importable, or an object that is no row.
        """
        if not isinstance(value, str):
            return self.row(value, what or self.axis)
        if ":" not in value:
            if value not in self:
                raise self.unknown(value, what)
            return self[value]
        row = self.row(look_up(what or self.axis, {}, value), what or self.axis, repr(value))
        return dataclasses.replace(row, path=value)

    def unknown(self, name: str, what: str | None = None, others: Iterable[str] = ()) -> UserError:
        """Return the error for a name that no row has; `others` are valid beside the rows."""
        what = f"value of {what}" if what else self.axis
        if not self and not tuple(others):
            return problem(f"unknown {what}", got=repr(name), expected=f"package.module:attribute, {self.expected}")
        do = "A row of your own is package.module:attribute, or one that a module of --import registers."
        return unknown(what, name, dict.fromkeys([*others, *self]), do)

    def of(self, section: Any, name: str) -> R:
        """Return the row that a section chooses by its setting `name`, with its own settings as they are there."""
        row, own = self.find(getattr(section, name)), getattr(section, name + OWN, None)
        return row if own is None else dataclasses.replace(row, settings=own)

    def row(self, value: Any, what: str, shown: str | None = None) -> R:
        """Return an object as a row.

        Args:
            what: what names the row, for errors.
            shown: the object in an error; None: its `repr`.

        Raises:
            UserError: it is no row, and none can be made of it.
        """
        if isinstance(value, self.kind):
            return value
        if self._make is not None and callable(value):
            return self._make(value)
        kind = with_article(type(value).__name__)
        raise problem(f"{what} {shown or shorten(written(value))} is {kind}", expected=self.expected)

    def check(self, row: R, what: str) -> None:
        """Check a row from outside. Raises a UserError if it cannot be used."""
        if self._check is not None:
            self._check(row, what)

    def holds(self, path: str) -> bool:
        """Return whether what a path package.module:attribute names is a row of this table's class."""
        return isinstance(look_up(self.axis, {}, path), self.kind)

    def name_of(self, value: Any, what: str) -> str:
        """Return the name or path by which `find` gives a value again.

        Raises:
            UserError: an object without either, such as a lambda.
        """
        if isinstance(value, str):
            return value
        row = self.row(value, what)
        for name, known in self.items():
            if known is row or known == row:
                return name
        for part in (value, *(getattr(row, field.name) for field in dataclasses.fields(row))):
            path = path_of(part) if callable(part) else ""
            if path and "<" not in path and self._finds(path, row):
                return path
        do = f'Give it a name by register("{self.axis}", NAME, row), or define it at the top of a module.'
        raise problem(f"{what} is an object that no name stands for", got=shorten(repr(value)), do=do)

    def _finds(self, path: str, row: R) -> bool:
        try:
            return self.find(path) == row
        except UserError:
            return False

    def module_of(self, value: Any) -> str | None:
        """Return the name of the module that a row from outside comes from; None for the project's own rows."""
        if isinstance(value, str):
            return value.partition(":")[0] if ":" in value else self._modules.get(value)
        callables = [part for part in (value, *value._parts()) if callable(part)]
        return callables[0].__module__ if callables else None

    def add(self, name: str, value: Any, module: str = "__main__") -> None:
        """Add a row from outside.

        Args:
            module: the module that adds it.

        Raises:
            UserError: the name is taken or no name, or the row cannot be used.
        """
        what = f"{self.axis} {name!r}"
        if not isinstance(name, str) or not name.isidentifier():
            do = (
                f"Write {re.sub('[^0-9a-zA-Z_]', '_', name)!r}."
                if isinstance(name, str) and name[:1].isalpha()
                else None
            )
            expected = "letters, digits and _"
            raise problem(f"the name of a {self.axis} is no name", got=repr(name), expected=expected, do=do)
        row = self.row(value, what)
        if name in self and self[name] != row:
            got, expected = shorten(repr(value)), f"a name beside {', '.join(self)}"
            raise problem(f"{what} is there already", got=got, expected=expected, do="Choose another name.")
        self.check(row, what)
        self._own[name], self._modules[name] = row, module

    def remove(self, name: str) -> None:
        """Remove a row that `add` has added."""
        if name not in self._own:
            raise problem(f"no row from outside in the table of {self.axis}", got=repr(name))
        del self._own[name]


def register(axis: str, name: str, row: Any, *, module: str | None = None) -> None:
    """Give a row from outside a name, by which configs, flags and checks find it in this process.

    Args:
        axis: the table, such as "score" or "position".
        name: letters, digits and _.
        row: a row of that table, or what it makes a row from, such as a function.
        module: name of the module that a run records for the row; None: the caller's.

    Raises:
        UserError: an unknown axis, a name that is taken by another row, or an object that is no such row.
    """
    if axis not in TABLES:
        raise unknown("axis", axis, TABLES)
    TABLES[axis].add(name, row, module or _module_of_the_caller())


def _module_of_the_caller() -> str:
    """Return the name of the first module outside this one on the stack."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return "__main__" if frame is None else str(frame.f_globals.get("__name__", "__main__"))
