"""The flag `--import` of every command: modules that are imported first, which may register rows of tables."""

from collections.abc import Sequence

from transformer.errors import problem
from transformer.named_code import import_modules

IMPORT = "--import"
"""Name of the flag."""


def import_named(argv: Sequence[str]) -> list[str]:
    """Import the modules that `--import` names, and return the other words."""
    names, words = split_imports(argv)
    import_modules(names)
    return words


def import_words(argv: Sequence[str]) -> list[str]:
    """Return the words by which another command imports the same modules."""
    names, _ = split_imports(argv)
    return [f"{IMPORT}={','.join(names)}"] if names else []


def split_imports(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the modules that `--import` names, and the other words."""
    words, names = list(argv), []
    while (at := next((i for i, word in enumerate(words) if word.partition("=")[0] == IMPORT), None)) is not None:
        _, equals, text = words.pop(at).partition("=")
        if not equals and at < len(words) and not words[at].startswith("-"):
            text = words.pop(at)
        names += [name.strip() for name in text.split(",") if name.strip()]
        if not names:
            raise problem(f"{IMPORT} needs a value", expected="package.module", do=f"Write {IMPORT}=MODULE.")
    return list(dict.fromkeys(names)), words
