"""The locales and formats of CLDR in which dates are written.

de, long     20. November 2026
fr, full     vendredi 20 novembre 2026
ja, medium   2026/11/20
"""

from collections.abc import Sequence

from babel import Locale, UnknownLocaleError
from babel.localedata import locale_identifiers

from transformer.errors import nearest, problem

LOCALES_OF_SCRIPTS = {
    "Latin": "en_US en_GB de fr es pt_BR nl sv fi is lt pl cs hu ro tr vi id sw",
    "Cyrillic": "ru uk bg sr kk",
    "Greek, Georgian, Armenian, Ethiopic": "el ka hy am",
    "Arabic, Hebrew": "ar fa ur he",
    "Korean, Japanese, Chinese": "ko ja zh_Hans zh_Hant",
    "of South Asia": "hi mr bn gu pa ta te kn ml si",
    "of South-East Asia": "th lo my km",
}
LOCALES = tuple(name for names in LOCALES_OF_SCRIPTS.values() for name in names.split())
FORMATS = ("full", "long", "medium", "short")


def find_locales(names: Sequence[str]) -> list[Locale]:
    """Find the locales of these names, with _ or - between their parts.

    Raises:
        UserError: no names, or one that CLDR lacks; the error names the nearest that it has.
    """
    if not names:
        raise problem("data.dates.locales is empty", expected="at least one locale, such as fr or pt_BR")
    return [_find_locale(name) for name in names]


def _find_locale(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError) as error:
        guess = nearest(name.replace("-", "_"), locale_identifiers())
        raise problem(
            "unknown locale in data.dates.locales",
            got=repr(name),
            expected="a CLDR locale, such as fr or pt_BR",
            do=f"Did you mean {guess!r}?" if guess else None,
        ) from error
