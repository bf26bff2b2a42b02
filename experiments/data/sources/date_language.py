"""Languages of written dates, to be recognised: "vendredi 20 novembre 2026" -> "fr".

Days are drawn and written as for `dates`; the label is the language of the locale, so that en_US and en_GB are both en.
Some strings are written alike in several languages ("20.11.2026"), so no reader of the string alone is always correct:

    ceiling = sum over strings s of max over languages l of count(s, l), divided by the sum of all counts

where count(s, l) is the number of (day, locale, format) of the test's days that write s in l.
"""

import collections
import dataclasses
import datetime
from collections.abc import Iterable

from babel import Locale

from experiments.data.config import DataConfig, DatesConfig
from experiments.data.examples import Pair, Splits
from experiments.data.sources.dates import draw_splits, split_days, write, writers
from experiments.data.sources.locales import find_locales
from transformer.errors import problem

MOST_DAYS = 4_000
"""Largest number of the test's days that the ceiling is computed of; a hundred years have 1,826."""


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """Highest accuracy that the strings alone allow.

    Attributes:
        accuracy: highest for a reader of the string, each (locale, format) being as likely as another.
        strings: number of different strings.
        shared: number of strings that several languages write.
    """

    accuracy: float
    strings: int
    shared: int


def date_language(config: DataConfig, seed: int) -> Splits:
    """Draw as `dates` does; the target and group of a pair are its language. The notes give the test's ceiling.

    A function of the config and the seed alone.

    Raises:
        UserError: as `dates`, or locales of one language only.
    """
    languages = {language(locale) for locale in find_locales(config.dates.locales)}
    if len(languages) == 1:
        raise problem(
            "the locales of data.dates.locales have one language, so there is nothing to classify",
            got=", ".join(config.dates.locales),
            expected="locales of two languages or more",
        )
    splits = draw_splits(config, seed, lambda text, _, locale: Pair(text, language(locale), language(locale)))
    _, _, test = split_days(config.dates, seed)
    most = ceiling(config.dates, test[:MOST_DAYS])
    days = "" if len(test) <= MOST_DAYS else f"{MOST_DAYS:,} of "
    note = (
        f"date_language: {len(languages)} languages; ceiling: {most.accuracy:.2%} accuracy on {days}the test's days; "
        f"{most.shared:,} of {most.strings:,} strings are shared by several languages"
    )
    return dataclasses.replace(splits, notes=(note.replace("%", " %"),), ceiling=most.accuracy)


def language(locale: Locale) -> str:
    """Return the code of a locale's language, without script or territory: "zh" for zh_Hant, "pt" for pt_BR."""
    return locale.language


def ceiling(config: DatesConfig, days: Iterable[datetime.date]) -> Ceiling:
    """Compute the highest accuracy on these days, over all locales and formats; exact."""
    days = list(days)
    counts: dict[str, collections.Counter[str]] = {}
    for writer in writers(config):
        counts.setdefault(language(writer[0]), collections.Counter()).update(write(days, writer))
    most: dict[str, int] = {}
    shared: set[str] = set()
    for of_language in counts.values():
        for text, count in of_language.items():
            if text in most:
                shared.add(text)
            most[text] = max(most.get(text, 0), count)
    total = sum(of_language.total() for of_language in counts.values())
    return Ceiling(sum(most.values()) / total, len(most), len(shared))
