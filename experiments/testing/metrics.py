"""Properties of metrics: functions of pairs of an answer and a reference, whatever their order and their split."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.tasks.metrics import TextMetric
from transformer.errors import problem

TOLERANCE = 1e-9
"""Largest difference of two scores, relative to their size, that rounding explains."""

WORDS = ("a", "red", "house", "Äpfel", "7", "the")
SPLITS = 4
"""Number of sets of pairs of one size that each property is tried on."""

Pairs = tuple[list[str], list[str]]
"""Answers, and their references."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A metric, and sets of pairs of one size: some answers are right, some wrong, some empty."""

    row: TextMetric
    pairs: int

    @functools.cached_property
    def sets(self) -> list[Pairs]:
        """Several sets of pairs."""
        draw = np.random.default_rng(0)

        def text(least: int) -> str:
            return " ".join(draw.choice(WORDS, size=draw.integers(least, 5)))

        sets = []
        for _ in range(SPLITS):
            references = [text(1) for _ in range(self.pairs)]
            sets.append(([right if draw.random() < 0.4 else text(0) for right in references], references))
        return sets

    def score(self, answers: Sequence[str], references: Sequence[str]) -> float:
        """Compute the score of pairs."""
        return self.row.score(answers, references)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Metrics with one pair to many."""

    sizes: tuple[int, ...] = (1, 2, 3, 6, 24)

    def make(self, row: TextMetric, settings: Mapping[str, Any], size: int) -> Example:
        """Make the example of so many pairs; the settings are the row's own. Raises UserError: it has no such ones."""
        names = [] if row.settings is None else [field.name for field in dataclasses.fields(row.settings)]
        if unknown := [name for name in settings if name not in names]:
            raise problem("unknown setting of a metric", got=unknown[0], expected=", ".join(names) or "none")
        own = dataclasses.replace(row.settings, **settings) if settings else row.settings
        return Example(dataclasses.replace(row, settings=own), size)


def repeated(example: Example) -> str | None:
    """Compare the score of pairs with that of the same after other pairs, and look for changes of the lists."""
    for answers, references in example.sets:
        given, first = (list(answers), list(references)), example.score(answers, references)
        example.score(references, answers)
        function = functools.partial(example.row.function, **example.row.own)
        function(answers, references)
        if (answers, references) != given:
            return "it changes the lists that it is given"
        if not _same(example.score(answers, references), first):
            return f"a second call gives {example.score(answers, references):.6g}, the first {first:.6g}"
    return None


def order(example: Example) -> str | None:
    """Compare the score of pairs with those of the same pairs in other orders."""
    draw = np.random.default_rng(1)
    for answers, references in example.sets:
        orders = [np.arange(example.pairs)[::-1], *(draw.permutation(example.pairs) for _ in range(3))]
        straight = example.score(answers, references)
        for rows in orders:
            other = example.score([answers[i] for i in rows], [references[i] for i in rows])
            if not _same(other, straight):
                return f"pairs in another order give {other:.6g}, not {straight:.6g}: {_written(answers, references)}"
    return None


def split(example: Example) -> str | None:
    """Compare the score of pairs with the mean of the scores of two parts, each weighted by its number of pairs."""
    for answers, references in example.sets:
        whole = example.score(answers, references)
        for cut in {1, example.pairs // 2, example.pairs - 1} - {0, example.pairs}:
            parts = [example.score(answers[a:b], references[a:b]) for a, b in ((0, cut), (cut, example.pairs))]
            mean = (cut * parts[0] + (example.pairs - cut) * parts[1]) / example.pairs
            if not _same(mean, whole):
                return (
                    f"parts of {cut} and {example.pairs - cut} pairs give {mean:.6g} on average, all together "
                    f"{whole:.6g}: {_written(answers, references)}"
                )
    return None


def bounds(example: Example) -> str | None:
    """Look for scores that are no numbers, or beyond the row's bounds."""
    low, high = example.row.bounds
    for answers, references in example.sets:
        score = example.score(answers, references)
        if not low <= score <= high:
            return f"{score:.6g} is not within {low:g} and {high:g}: {_written(answers, references)}"
    return None


def best(example: Example) -> str | None:
    """Compare right answers with others, which are not better, and with the best of the bounds where it is finite."""
    sign = 1.0 if example.row.mode == "max" else -1.0
    limit = example.row.bounds[1 if sign > 0 else 0]
    for answers, references in example.sets:
        right, other = example.score(references, references), example.score(answers, references)
        if math.isfinite(limit) and not _same(right, limit):
            return f"right answers have {right:.6g}, the best is {limit:g}: {_written(references, references)}"
        if sign * (other - right) > TOLERANCE * max(abs(right), 1.0):
            return f"right answers have {right:.6g}, others {other:.6g}: {_written(answers, references)}"
    return None


def empty(example: Example) -> str | None:
    """Compute the score of no pairs: a number, which may be NaN, and no error."""
    example.score([], [])
    return None


def texts(example: Example) -> str | None:
    """Compute scores of what a model may write: nothing, white space, other scripts, a long text."""
    for odd in ("", "   ", "\n", "\N{REPLACEMENT CHARACTER}", "日本語 שלום", "x" * 2000):
        for answers, references in example.sets:
            score = example.score([odd, *answers[1:]], references)
            if math.isnan(score):
                return f"an answer {odd[:9]!r} gives NaN"
    return None


def _same(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= TOLERANCE * max(abs(one), abs(other), 1.0)


def _written(answers: Sequence[str], references: Sequence[str]) -> str:
    """Write the first pairs."""
    shown = [f"{answer!r} for {reference!r}" for answer, reference in zip(answers, references, strict=True)][:2]
    return ", ".join([*shown, "..."] if len(answers) > len(shown) else shown)


PROPERTIES = (
    ("repeated", repeated),
    ("order", order),
    ("split", split),
    ("bounds", bounds),
    ("best", best),
    ("empty", empty),
    ("texts", texts),
)
"""Name -> property."""
