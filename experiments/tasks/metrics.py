"""Metrics of a user's own: scores of answers, or of predicted labels, beside those that a task has.

A metric is a function (answers, references) of two lists of texts, one pair for each example of a split. It is called
in every evaluation; its score stands under its name, that of the row or of the function, wherever scores do.
"""

import dataclasses
import math
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from transformer.errors import problem, written
from transformer.tables import Choice, Row, Table


@dataclasses.dataclass(frozen=True, eq=False)
class TextMetric(Row):
    """A row of METRICS.

    Attributes:
        function: (answers, references) -> score; a row with settings also takes `settings`.
        mode: which way is better, "max" or "min".
        unit: unit of the score, in words.
        bounds: its least and greatest value.
    """

    function: Callable[..., float]
    mode: str = "max"
    unit: str = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("max", "min"):
            raise problem("unknown mode of a metric", got=repr(self.mode), expected='"max" or "min"')

    def score(self, answers: Sequence[str], references: Sequence[str]) -> float:
        """Compute the score of all answers."""
        return float(self.function(list(answers), list(references), **self.own))


def _check(row: TextMetric, what: str) -> None:
    """Call a metric from outside on two answers, one of them right."""
    expected = f"a function of ({', '.join(('answers', 'references', *row.own))}), lists of texts, -> a number"
    try:
        score: Any = row.function(["a red house", "two"], ["a red house", "three"], **row.own)
    except Exception as error:  # the function is the user's own, and may raise anything
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        raise problem(f"{what} fails on a small example", got=got, expected=expected) from error
    try:
        float(score)
    except (TypeError, ValueError) as error:
        raise problem(f"{what} gave something else", got=written(score), expected=expected) from error


METRICS = Table(
    "metric",
    TextMetric,
    {},
    make=TextMetric,
    expected="a function of (answers, references) -> number, or an experiments.tasks.metrics.TextMetric",
    check=_check,
)


def own_metrics(chosen: Sequence[Choice]) -> dict[str, TextMetric]:
    """Find the metrics that a config names: name of the score -> row.

    Raises:
        UserError: two scores of one name.
    """
    found: dict[str, TextMetric] = {}
    for choice in chosen:
        row = METRICS.find(choice, "task.metrics")
        name = choice.rpartition(":")[2] if isinstance(choice, str) else getattr(row.function, "__name__", str(row))
        refuse_same_names([name], found)
        found[name] = row
    return found


def refuse_same_names(names: Iterable[str], taken: Container[str]) -> None:
    """Raise a UserError for the name of a score that another score has."""
    for name in names:
        if name in taken:
            do = f"Give one another name by its function's, or by register({METRICS.axis!r}, NAME, row)."
            raise problem("two scores of task.metrics and the task have one name", got=repr(name), do=do)
