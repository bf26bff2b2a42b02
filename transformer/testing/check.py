"""The check of a row: each property of its axis on a small example, and the smallest example on which it fails."""

import functools
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from transformer.errors import UserError, look_up, not_a_file, problem, shorten, unknown
from transformer.named_code import DOTTED_PATH
from transformer.tables import TABLES, Row
from transformer.testing.axes import AXES, Axis
from transformer.testing.inapplicable import InapplicableError

HOLDS, FAILS, EXEMPT = "holds", "FAILS", "exempt"


class Result(NamedTuple):
    """The result of one property.

    Attributes:
        property: its name.
        result: "holds", "FAILS" or "exempt".
        detail: what was found where it fails, on the smallest example; where the row is exempt, the reason that it
            gives, or why the property does not apply to it.
    """

    property: str
    result: str
    detail: str = ""


class Report(NamedTuple):
    """The results of a row: `print(report)` shows a table.

    Attributes:
        axis: the row's table.
        row: the row's name or path.
        results: one for each property of the axis.
    """

    axis: str
    row: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """True where no property fails."""
        return all(result.result != FAILS for result in self.results)

    def __str__(self) -> str:
        width = max(len(result.property) for result in self.results)
        lines = [f"{self.axis} {self.row}"]
        for name, result, detail in self.results:
            head = f"  {name:{width}}  {result:6}  "
            rest = textwrap.wrap(detail, max(110 - len(head), 40)) or [""]
            lines += [f"{head}{rest[0]}".rstrip(), *(" " * len(head) + part for part in rest[1:])]
        return "\n".join(lines)


def check(
    axis: str,
    row: Any,
    *,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
    axes: Mapping[str, Axis] = AXES,
) -> Report:
    """Check that a row from outside has the properties which this project's rows of the axis have.

    Args:
        axis: the table, such as "position".
        row: a name, a path package.module:attribute, a row, or what the table makes a row from.
        settings: further settings of the example, which the row needs: of a part of a model those of the model, such
            as {"width": 16}.
        progress: called with the name of each property before it is checked.
        axes: the axes with their properties.

    Returns:
        The result of each property; `report.passed` where none fails, `print(report)` for the table.

    Raises:
        UserError: an unknown axis, an object that is no such row, or settings that contradict it.
    """
    if axis not in axes:
        raise unknown("axis with properties to check", axis, axes)
    table, properties = TABLES[axis], axes[axis]
    found = table.find(row, axis)
    table.check(found, axis)
    _refuse_unknown_exemptions(axis, found, [name for name, _ in properties.properties])
    make = functools.cache(lambda size: properties.example.make(found, settings or {}, size))
    results = []
    for name, test in properties.properties:
        if progress is not None:
            progress(name)
        sizes = properties.example.sizes
        results.append(
            Result(name, EXEMPT, found.exempt[name]) if name in found.exempt else _result(name, test, make, sizes)
        )
    return Report(axis, row if isinstance(row, str) else str(found), tuple(results))


def find_axis(name: str, axes: Mapping[str, Axis] = AXES, form: str = "check({axis!r}, ...)") -> str:
    """Find the axis of a row by the class of what its path names, or by its name in one table alone.

    Args:
        name: a name, or a path package.module:attribute.
        axes: the axes among which it is looked for.
        form: how the caller names an axis, for errors.

    Raises:
        UserError: no path, nothing that can be imported, or a row of no axis or of several.
    """
    if ":" not in name:
        found = [axis for axis in axes if name in TABLES[axis]]
    elif DOTTED_PATH.fullmatch(name):
        value = look_up("row", {}, name)
        found = [axis for axis in axes if isinstance(value, TABLES[axis].kind) or axes[axis].makes(value)]
    else:
        raise problem(f"{name!r} is no path", expected="package.module:attribute", do=not_a_file(name))
    if len(found) != 1:
        first, *others = found or axes
        do = f"Name its axis: {form.format(axis=first)}, or another of {', '.join(others)}."
        raise problem(f"the table of {name!r} is not known", got=", ".join(found) or "none", do=do)
    return found[0]


def _result(name: str, test: Callable[..., str | None], make: Callable[..., Any], sizes: Sequence[Any]) -> Result:
    """Try a property on the largest example, and where it fails on all from the smallest."""
    try:
        found = _found(test, make(sizes[-1]))
    except InapplicableError as reason:
        return Result(name, EXEMPT, str(reason))
    if found is None:
        return Result(name, HOLDS)
    for size in sizes[:-1]:
        try:
            smaller = _found(test, make(size))
        except InapplicableError:
            continue
        if smaller is not None:
            return Result(name, FAILS, f"{smaller}; smallest example found: {size}")
    return Result(name, FAILS, f"{found}; smallest example found: {sizes[-1]}")


def _found(test: Callable[..., str | None], example: Any) -> str | None:
    """Return what a property finds wrong, None where it holds; an error of the row's own code is a finding."""
    try:
        return test(example)
    except InapplicableError:
        raise
    except UserError as error:
        return str(error)
    except Exception as error:  # the row is the user's own, and may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        return f"{type(error).__name__}: {shorten(str(error).splitlines()[0] if str(error) else '')}{where}"


def _refuse_unknown_exemptions(axis: str, row: Row, names: list[str]) -> None:
    for name in row.exempt:
        if name not in names:
            raise problem(f"a {axis} is exempt from an unknown property", got=repr(name), expected=", ".join(names))
