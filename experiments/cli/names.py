"""Full names of settings, such as "model.width": the one that was most likely meant by another."""

import difflib
from collections.abc import Iterable

from transformer.errors import nearest, synonym


def nearest_setting(name: str, names: Iterable[str]) -> str | None:
    """Find the full name that was most likely meant: of another section or library, or of another spelling."""
    names = list(names)
    section, _, last = name.rpartition(".")
    exact = [n for n in names if last_part(n) == last]
    beside = [n for n in names if section and n.startswith(section + ".")]
    for search in (synonym, nearest):
        for pool in (exact, beside, names):
            match = search(last, dict.fromkeys(map(last_part, pool)))
            if match is not None:
                same_end = [n for n in pool if last_part(n) == match]
                return max(same_end, key=lambda n: difflib.SequenceMatcher(None, name, n).ratio())
    return None


def last_part(name: str) -> str:
    """Return the last part of a full name."""
    return name.rpartition(".")[2]
