"""Texts in the languages of the gallery, and the words that all studies share in them.

A study writes its sentences once in each language, side by side; numbers are formatted once and put into both.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from experiments.comparing import decision


class Text(NamedTuple):
    """A text in English and in Chinese."""

    en: str
    zh: str

    def format(self, **values: object) -> "Text":
        """Fill the names in braces; a value that is a Text gives each language its own."""
        return Text(*(part.format(**{k: _in(v, i) for k, v in values.items()}) for i, part in enumerate(self)))

    def __bool__(self) -> bool:
        return bool(self.en)


def _in(value: object, language: int) -> object:
    return value[language] if isinstance(value, Text) else value


def same(text: str) -> Text:
    """Make a text that is equal in all languages, such as a number or the value of a setting."""
    return Text(text, text)


def named(name: str, chinese: Mapping[str, str]) -> Text:
    """Make the text of a name: in Chinese that of the table, or the same where the table has none."""
    return Text(name, chinese.get(name, name))


def against(ours: str, others: str, chinese: Mapping[str, str]) -> Text:
    """Make the text "ours against others" of two names."""
    return Text("{ours} against {others}", "{ours} 对 {others}").format(
        ours=named(ours, chinese), others=named(others, chinese)
    )


def joined(texts: Iterable[Text]) -> Text:
    """Join texts by semicolons, language by language."""
    parts = list(texts)
    return Text(*(mark.join(part[i] for part in parts) for i, mark in enumerate(SEMICOLON)))


NOTHING = same("")
SEMICOLON = Text("; ", "；")

WORDS: dict[str, Text] = {
    decision.HOLDS: Text("holds", "成立"),
    decision.REVERSED: Text("reversed", "相反"),
    decision.NO_DIFFERENCE: Text("no difference", "无差异"),
    decision.FAILS: Text("fails", "不成立"),
    decision.UNDECIDED: Text("undecided", "未定"),
    decision.NOT_TESTED: Text("not tested", "未检验"),
    decision.PREVIEW: Text("preview", "预览"),
    decision.HOLDS_EXACTLY: Text("holds exactly", "精确成立"),
    decision.COUNTEREXAMPLE: Text("fails, with a counterexample", "不成立，有反例"),
}
"""Word of a verdict -> the same in each language."""


def number(value: float, digits: int = 3) -> str:
    """Format a number with so many significant digits: "0.0123", "1,250", "3e-07", "not finite"."""
    if value == 0.0:
        return "0"
    if not math.isfinite(value):
        return "inf" if value > 0 else "-inf" if value < 0 else "nan"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{max(digits - 2, 0)}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}"
