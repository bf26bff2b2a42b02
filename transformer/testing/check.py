"""The check of a row: each property of its axis on a small example, and the smallest example on which it fails."""

import textwrap
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from transformer.errors import UserError, problem, shorten, unknown
from transformer.tables import TABLES, Row
from transformer.testing.axes import AXES

HOLDS, FAILS, EXEMPT = "holds", "FAILS", "exempt"


class Result(NamedTuple):
    """The result of one property.

    Attributes:
        property: its name.
        result: "holds", "FAILS" or "exempt".
        detail: what was found where it fails, on the smallest example; the reason where the row is exempt.
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
    axis: str, row: Any, *, settings: dict[str, Any] | None = None, progress: Callable[[str], None] | None = None
) -> Report:
    """Check that a row from outside has the properties which this project's rows of the axis have.

    Args:
        axis: the table, such as "position".
        row: a name, a path package.module:attribute, a row, or what the table makes a row from.
        settings: further settings of the example's model, such as {"width": 16}, which the row needs.
        progress: called with the name of each property before it is checked.

    Returns:
        The result of each property; `report.passed` where none fails, `print(report)` for the table.

    Raises:
        UserError: an unknown axis, an object that is no such row, or settings that contradict it.
    """
    if axis not in AXES:
        raise unknown("axis with properties to check", axis, AXES)
    table, properties = TABLES[axis], AXES[axis]
    found = table.find(row, axis)
    table.check(found, axis)
    _refuse_unknown_exemptions(axis, found, [name for name, _ in properties.properties])
    results = []
    for name, test in properties.properties:
        if progress is not None:
            progress(name)
        results.append(_result(name, test, properties.example, found, settings or {}))
    return Report(axis, row if isinstance(row, str) else str(found), tuple(results))


def _result(name: str, test: Callable[..., str | None], example: Any, row: Row, settings: dict[str, Any]) -> Result:
    if name in row.exempt:
        return Result(name, EXEMPT, row.exempt[name])
    sizes: Sequence[Any] = example.sizes
    if _found(test, example.make(row, settings, sizes[-1])) is None:
        return Result(name, HOLDS)
    for size in sizes:
        found = _found(test, example.make(row, settings, size))
        if found is not None:
            return Result(name, FAILS, f"{found}; smallest example found: {size}")
    return Result(name, FAILS, f"it fails now and then on {sizes[-1]}")


def _found(test: Callable[..., str | None], example: Any) -> str | None:
    """Return what a property finds wrong, None where it holds; an error of the row's own code is a finding."""
    try:
        return test(example)
    except UserError:
        raise
    except Exception as error:  # the row is the user's own, and may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        return f"{type(error).__name__}: {shorten(str(error).splitlines()[0] if str(error) else '')}{where}"


def _refuse_unknown_exemptions(axis: str, row: Row, names: list[str]) -> None:
    for name in row.exempt:
        if name not in names:
            raise problem(f"a {axis} is exempt from an unknown property", got=repr(name), expected=", ".join(names))
