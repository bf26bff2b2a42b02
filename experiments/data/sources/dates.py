"""Dates in many languages, to be read: "vendredi 20 novembre 2026" -> "2026-11-20".

The Unicode Common Locale Data Repository (CLDR, through Babel) holds the formats in which each locale writes a day in
full, at length and at medium length; the target is ISO 8601. Every string of the default locales and formats stands for
one day only (`ceiling` measures it, a test holds it), so a model can reach an exact match of 1. Short formats write
11/5/26 for two different days in two locales, so they are not among the defaults.
"""

import collections
import dataclasses
import datetime
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import overload

import numpy as np
from babel import Locale
from babel.dates import DateTimeFormat, get_date_format
from jaxtyping import Int64

from experiments.data.config import DataConfig, DatesConfig, formats_check
from experiments.data.examples import Pair, Splits
from experiments.data.machine import free_memory, too_large
from experiments.data.sources.locales import find_locales
from transformer.errors import problem

HELD_OUT = 0.05
"""Share of the days that only validation has; the test has as many."""

Writer = tuple[Locale, str]
"""Locale, and one of its formats."""
EXAMPLE = 200
"""Least number of bytes that an example takes: its texts, and their tokens."""

FIELD = re.compile(r"%\((\w+)\)s")
"""One field of a CLDR pattern, as Babel keeps it."""
PARTS: dict[str, Callable[[datetime.date], int]] = {
    "d": operator.attrgetter("day"),
    "M": operator.attrgetter("month"),
    "L": operator.attrgetter("month"),
    "E": datetime.date.weekday,
    "c": datetime.date.weekday,
    "y": operator.attrgetter("year"),
    "G": operator.attrgetter("year"),
}
"""First letter of a field -> the part of the day that decides it; other fields depend on the whole day."""


def dates(config: DataConfig, seed: int) -> Splits:
    """Draw (day, locale, format) uniformly; training, validation and test have no day in common.

    A function of the config and the seed alone; validation and test do not depend on how many training examples
    are drawn.

    Raises:
        UserError: an unknown locale or format, or years that end before they start.
    """
    return draw_splits(config, seed, lambda text, day, locale: Pair(text, day.isoformat(), str(locale)))


def draw_splits(config: DataConfig, seed: int, make: Callable[[str, datetime.date, Locale], Pair]) -> Splits:
    """Draw as `dates`; `make` builds the pair of a written day. Raises UserError as `dates`."""
    among, parts = writers(config.dates), split_days(config.dates, seed)
    needed, free = EXAMPLE * (config.examples + 2 * config.evaluation_examples), free_memory()
    if free is not None and needed > free:
        raise too_large("the drawn data", needed, free, "Lower data.examples and data.evaluation_examples.")
    counts = (config.examples, config.evaluation_examples, config.evaluation_examples)
    return Splits(
        *(
            _draw(days, among, count, np.random.default_rng((seed, stream)), make)
            for stream, (days, count) in enumerate(zip(parts, counts, strict=True), start=1)
        )
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Days(Sequence[datetime.date]):
    """A sequence of days, held as their numbers: ten thousand years have 3.65 million."""

    ordinals: Int64[np.ndarray, "days"]

    def __len__(self) -> int:
        return len(self.ordinals)

    @overload
    def __getitem__(self, i: int) -> datetime.date: ...

    @overload
    def __getitem__(self, i: slice) -> "Days": ...

    def __getitem__(self, i: int | slice) -> "datetime.date | Days":
        return Days(self.ordinals[i]) if isinstance(i, slice) else datetime.date.fromordinal(int(self.ordinals[i]))


def split_days(config: DatesConfig, seed: int) -> tuple[Days, ...]:
    """Split the days into training, validation and test, none in two of them: a function of the arguments alone."""
    ordinals = every_day(config).ordinals
    order = np.random.default_rng((seed, 0)).permutation(len(ordinals))
    held_out = max(1, round(HELD_OUT * len(ordinals)))
    validation, test, train = np.split(order, (held_out, 2 * held_out))
    return tuple(Days(ordinals[part]) for part in (train, validation, test))


def every_day(config: DatesConfig) -> Days:
    """List the days of the config's years, in order.

    Raises:
        UserError: the last year is before the first.
    """
    if config.last_year < config.first_year:
        raise problem(
            "data.dates.last_year is before data.dates.first_year",
            got=f"{config.first_year} to {config.last_year}",
            expected="first_year <= last_year",
        )
    first, last = datetime.date(config.first_year, 1, 1), datetime.date(config.last_year, 12, 31)
    return Days(np.arange(first.toordinal(), last.toordinal() + 1))


def ceiling(config: DatesConfig, days: Iterable[datetime.date]) -> float:
    """Compute the highest exact match that the strings alone allow on these days (1: none is ambiguous).

    Over all locales and formats, each as likely as another; the best answer to a string is the day for which it stands
    most often.
    """
    meanings: dict[str, collections.Counter[datetime.date]] = {}
    days = list(days)
    for writer in writers(config):
        for text, day in zip(write(days, writer), days, strict=True):
            meanings.setdefault(text, collections.Counter())[day] += 1
    correct = sum(max(counter.values()) for counter in meanings.values())
    return correct / sum(counter.total() for counter in meanings.values())


def writers(config: DatesConfig) -> list[Writer]:
    """List every (locale, format) of the config. Raises UserError: an unknown locale or format, or none."""
    if (expected := formats_check(config.formats)) is not None:
        raise problem("unknown format in data.dates.formats", got=config.formats, expected=expected)
    return [(locale, style) for locale in find_locales(config.locales) for style in config.formats]


def write(days: Sequence[datetime.date], writer: Writer) -> list[str]:
    """Write each day as Babel's `format_date` does, but put each month, weekday, ... into words only once."""
    locale, style = writer
    template = get_date_format(style, locale).format  # such as "%(d)s %(MMMM)s %(y)s"
    columns = []
    for field in FIELD.findall(template):
        keys = list(map(PARTS.get(field[0], datetime.date.toordinal), days))
        words = {key: DateTimeFormat(day, locale)[field] for key, day in dict(zip(keys, days, strict=True)).items()}
        columns.append([words[key] for key in keys])
    template = FIELD.sub("%s", template)
    return [template % fields for fields in zip(*columns, strict=True)]


def _draw(
    days: Days,
    among: list[Writer],
    count: int,
    rng: np.random.Generator,
    make: Callable[[str, datetime.date, Locale], Pair],
) -> list[Pair]:
    chosen = [days[i] for i in rng.integers(len(days), size=count).tolist()]
    chosen_writers = rng.integers(len(among), size=count)
    pairs: list = [None] * count
    for number, writer in enumerate(among):
        rows = np.flatnonzero(chosen_writers == number).tolist()
        for row, text in zip(rows, write([chosen[row] for row in rows], writer), strict=True):
            pairs[row] = make(text, chosen[row], writer[0])
    return pairs
