"""Search spaces: the settings that a sweep varies, and their values.

A recipe's `get_sweep()` returns a dict of them, in the grammar of `grammar`:

    def get_sweep():
        return {"optimizer.learning_rate": log(1e-4, 1e-2), "model.num_layers": [2, 4, 6], "seed": range(5)}
"""

import dataclasses
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformer import schema
from transformer.errors import problem

SEED, DATA_SEED = "seed", "data.seed"

MOST_POINTS = 100_000
"""Most combinations of a space that is tried in full."""

Point = dict[str, Any]
"""Name of a dimension -> its value; dimensions whose condition does not hold are absent."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False

    @property
    def ends(self) -> tuple[Any, Any]:
        return self.low, self.high


def log(low: float, high: float) -> Range:
    """Return the range of numbers whose logarithm is drawn evenly."""
    return Range(low, high, log=True)


def linear(low: float, high: float) -> Range:
    """Return the range of numbers that are drawn evenly."""
    return Range(low, high)


RANGES = {"log": log, "linear": linear}


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A dimension of the space: a setting, or several that are zipped and change together.

    Attributes:
        names: names of the settings.
        values: a Range; or the choices, each a tuple with a value for each setting.
        when: the condition: (setting, value) that the point must have, or None.
    """

    names: tuple[str, ...]
    values: Range | tuple[tuple[Any, ...], ...]
    when: tuple[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name in a space and in a study: the settings and the condition."""
        condition = "" if self.when is None else f"@{self.when[0]}:{schema.show(self.when[1])}"
        return "+".join(self.names) + condition

    @property
    def choices(self) -> list[Any]:
        """The values as a study stores them: texts such as "64+2" for a zipped dimension."""
        return [self.label(value) for value in self.values]

    @property
    def ends_or_choices(self) -> Sequence[Any]:
        """The values of its corners, as a study stores them."""
        return self.values.ends if isinstance(self.values, Range) else self.choices

    def label(self, value: tuple[Any, ...]) -> Any:
        return value[0] if len(self.names) == 1 else "+".join(map(schema.show, value))

    def assigned(self, stored: Any) -> dict[str, Any]:
        """Return the value of each setting, from the value that a study stores. Raises UserError for any other."""
        if isinstance(self.values, Range):
            is_number = isinstance(stored, int | float) and not isinstance(stored, bool) and math.isfinite(stored)
            chosen = (stored,) if is_number else None
        else:
            chosen = next((value for value in self.values if self.label(value) == stored), None)
        if chosen is None:  # a storage of others
            raise problem(f"the study holds a value of {self.name} that is not in the space", got=repr(stored))
        return dict(zip(self.names, chosen, strict=True))

    def __str__(self) -> str:
        if isinstance(self.values, Range):
            kind = "log" if self.values.log else "linear"
            return f"{self.name}={kind}:{self.values.low}:{self.values.high}"
        return f"{self.name}={schema.show(self.choices)}"


@dataclasses.dataclass(frozen=True)
class Space:
    """A search space: dimensions, each after those that its condition names, and the seeds of every point."""

    dimensions: tuple[Dimension, ...]
    seeds: tuple[int, ...]

    @property
    def finite(self) -> bool:
        return not any(isinstance(dimension.values, Range) for dimension in self.dimensions)

    @property
    def most_corners(self) -> int:
        """The number of combinations that `corners` yields, or more where some values are conditional."""
        return math.prod(2 if isinstance(d.values, Range) else len(d.values) for d in self.dimensions)

    def some_corners(self, most: int) -> Iterator[Point]:
        """Yield at most `most` corners: all, or some in which each value of a dimension comes as often as another.

        Of a dimension with more than `most` values, as many come, spread evenly, the first and the last among them.
        """
        if self.most_corners <= most:
            yield from self.corners()
            return
        draw, seen = random.Random(0), set()
        orders = {dimension.name: _spread(len(dimension.ends_or_choices), most, draw) for dimension in self.dimensions}
        for number in range(most):
            point: Point = {}
            for dimension in self.dimensions:
                if self.active(dimension, point):
                    point[dimension.name] = dimension.ends_or_choices[orders[dimension.name][number]]
            if (key := repr(point)) not in seen:
                seen.add(key)
                yield point

    def settings_of(self, point: Point) -> dict[str, Any]:
        """Return the value of each setting at a point."""
        return {
            name: value
            for dimension in self.dimensions
            if dimension.name in point
            for name, value in dimension.assigned(point[dimension.name]).items()
        }

    def active(self, dimension: Dimension, point: Point) -> bool:
        """Return whether the point fulfils the condition of a dimension."""
        return dimension.when is None or self.settings_of(point).get(dimension.when[0]) == dimension.when[1]

    def corners(self) -> Iterator[Point]:
        """Yield every combination of choices and ends of ranges, which is all of a finite space."""
        return self._corners(self.dimensions, {})

    def _corners(self, dimensions: Sequence[Dimension], point: Point) -> Iterator[Point]:
        """Yield every combination of the values of some dimensions, with a point of those before them."""
        if not dimensions:
            yield point
            return
        first, *others = dimensions
        if not self.active(first, point):
            yield from self._corners(others, point)
            return
        for value in first.ends_or_choices:
            yield from self._corners(others, {**point, first.name: value})

    def to_lines(self) -> list[str]:
        """Return the space in words, by which two spaces are compared."""
        seeds = f"{SEED}=" + ",".join(map(str, self.seeds))
        return [*sorted(map(str, self.dimensions)), seeds]


def overrides(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return settings as flags have them: (name, text)."""
    return [(name, schema.show(value)) for name, value in values.items()]


def _spread(count: int, most: int, draw: random.Random) -> list[int]:
    """Return `most` of the numbers 0 to count - 1 in any order: each as often as another, or as many spread evenly."""
    numbers = [number % count if count < most else round(number * (count - 1) / (most - 1)) for number in range(most)]
    draw.shuffle(numbers)
    return numbers
