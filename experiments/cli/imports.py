"""The flag `--import` of every command: modules that are imported first, which may register rows of tables."""

from collections.abc import Sequence

from transformer.errors import problem
from transformer.named_code import import_modules

IMPORT = "--import"
"""Name of the flag."""


def import_named(argv: Sequence[str]) -> list[str]:
    """Import the modules that `--import` names, and return the other words."""
    words, names = list(argv), []
    while (at := next((i for i, word in enumerate(words) if word.partition("=")[0] == IMPORT), None)) is not None:
        _, equals, text = words.pop(at).partition("=")
        if not equals and at < len(words) and not words[at].startswith("-"):
            text = words.pop(at)
        names += [name.strip() for name in text.split(",") if name.strip()]
        if not names:
            raise problem(f"{IMPORT} needs a value", expected="package.module", do=f"Write {IMPORT}=MODULE.")
    import_modules(names)
    return words
