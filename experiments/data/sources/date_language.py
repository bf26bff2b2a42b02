"""Which language is this date written in? "vendredi 20 novembre 2026" -> "fr".

Days are drawn and written as for `dates`; the label is the language of the locale, so that en_US and en_GB are both en.
Some strings are written alike in several languages ("20.11.2026"), so no reader of the string alone is always right:

    ceiling = sum over strings s of max over languages l of count(s, l), divided by the sum of all counts

where count(s, l) is how many (day, locale, format) of the test's days write s in l.
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


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """What the strings alone allow."""

    accuracy: float
    """The highest that a reader of the string can reach, each writer being as likely as another."""
    strings: int
    """Different strings."""
    shared: int
    """Those of them that several languages write."""


def date_language(config: DataConfig, seed: int) -> Splits:
    """Draws as `dates` does; the target and group of a pair are its language. The notes say the test's ceiling.

    A function of the config and the seed alone.

    Raises:
        UserError: as `dates`, or locales of one language only.
    """
    languages = {language(locale) for locale in find_locales(config.dates.locales)}
    if len(languages) == 1:
        raise problem(
            "the locales of data.dates.locales have one language, so there is nothing to tell apart",
            got=", ".join(config.dates.locales),
            expected="locales of two languages or more",
        )
    splits = draw_splits(config, seed, lambda text, _, locale: Pair(text, language(locale), language(locale)))
    _, _, test = split_days(config.dates, seed)
    most = ceiling(config.dates, test)
    note = (
        f"date_language: {len(languages)} languages; ceiling: {most.accuracy:.2%} accuracy on the test's days; "
        f"{most.shared:,} of {most.strings:,} strings are shared by several languages"
    )
    return dataclasses.replace(splits, notes=(note.replace("%", " %"),), ceiling=most.accuracy)


def language(locale: Locale) -> str:
    """The code of a locale's language, without script or territory: "zh" for zh_Hant, "pt" for pt_BR."""
    return locale.language


def ceiling(config: DatesConfig, days: Iterable[datetime.date]) -> Ceiling:
    """The highest accuracy on these days, over all locales and formats; exact."""
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
