"""The check of a row of any axis."""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.testing.axes import AXES
from transformer import testing
from transformer.testing import Report


def check(
    axis: str, row: Any, *, settings: Mapping[str, Any] | None = None, progress: Callable[[str], None] | None = None
) -> Report:
    """Check a row as `transformer.testing.check` does, of the experiments' axes too.

    Args:
        axis: the table, such as "optimizer".
        row: a name, a path package.module:attribute, a row, or what the table makes a row from.
        settings: further settings which the row needs: of a part of a model those of section `model`, of a source
            those of `data`, of a file format its files as {"path": (PATH, ...)}, and of a metric its own.
        progress: called with the name of each property before it is checked.

    Raises:
        UserError: an unknown axis, an object that is no such row, or settings that contradict it.
    """
    return testing.check(axis, row, settings=settings, progress=progress, axes=AXES)
