"""Pictures on disk, and fonts for whatever script they show.

Which scripts can be drawn depends on the fonts of the machine; DejaVu Sans (Latin, Greek, Cyrillic, Arabic, Hebrew,
Armenian, Georgian, ...) comes with matplotlib. A character that no font covers is written as its code, U+5E74.
"""

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font

from experiments.training import signals
from transformer.errors import UserError, problem, shorten

FIRST = "DejaVu Sans"
NOT_FOR_TEXT = ("Last Resort", "cm", "STIX")
"""Beginnings of the names of fonts that have boxes for glyphs, or mathematical signs in the places of letters."""
LEAVE_NO_MARK = ("Cc", "Cf", "Zl", "Zp", "Zs")
"""Unicode categories of control and format characters, and of spaces."""


def font_for(text: str) -> list[str] | None:
    """Choose font families, in order of preference, that together cover a text; None if a character is in none."""
    families, missing = _cover(text)
    return None if missing else families


def coverable(text: str) -> bool:
    """Return whether the fonts of this machine can draw the text."""
    return font_for(text) is not None


def easy_to_read(text: str) -> bool:
    """Return whether the fonts cover the text and it is written from left to right, as the columns of a picture are."""
    return coverable(text) and not any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)


def readable_tokens(tokens: Sequence[str]) -> list[str]:
    """Replace each character that no font covers, or that is invisible, by U+XXXX."""
    _, missing = _cover("".join(tokens))
    return ["".join(_code(c) if c in missing or _is_hidden(c) else c for c in token) for token in tokens]


def save(figure: Figure, path: str | os.PathLike, dpi: int = 150) -> None:
    """Write a figure as PNG, so that at every moment the file is the old one or the new, never a part.

    Raises:
        OSError, UserError: it could not be written; the error names the path.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with signals.owned(lambda: temporary, lambda path: path.unlink(missing_ok=True)):
            figure.savefig(temporary, format="png", dpi=dpi)
            os.replace(temporary, path)
    except FileNotFoundError as error:  # the folder is there, but is of a kind that holds no files, as /proc
        raise problem("the picture could not be written", got=str(path), do="Choose another path.") from error
    except OSError as error:
        raise OSError(error.errno, f"the picture could not be written: {error.strerror}", str(path)) from error


def attempt(draw: Callable[[], None], path: Path) -> bool:
    """Draw a picture; where that fails, print why to standard error and return False."""
    try:
        draw()
    except Exception as error:  # whatever it is, the run has its result
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        why = " ".join(f"{kind}{error}".split())
        print(f"warning: no picture {path}: {shorten(why)}", file=sys.stderr)
        return False
    return True


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


def _is_hidden(character: str) -> bool:
    """Return whether a character is a format or control character, such as a mark of direction; line breaks are not."""
    return unicodedata.category(character) in ("Cc", "Cf") and character not in "\n\t"


def _cover(text: str) -> tuple[list[str], set[str]]:
    """Choose few families that cover as much of the text as possible; return them and the characters not covered."""
    wanted = {c for c in text if unicodedata.category(c) not in LEAVE_NO_MARK}
    entries = _one_entry_a_family()
    families, missing = [FIRST], wanted - _covered(entries.pop(FIRST), wanted)
    if not missing:
        return families, missing
    covered = {family: _covered(entry, missing) for family, entry in entries.items()}
    while missing:
        best = max(covered, key=lambda family: len(covered[family] & missing), default=None)
        if best is None or not covered[best] & missing:
            break
        families.append(best)
        missing = missing - covered[best]
    return families, missing


def _one_entry_a_family() -> dict[str, FontEntry]:
    """Return the most regular font file of each family, in alphabetical order."""
    entries: dict[str, FontEntry] = {}
    for entry in sorted(fontManager.ttflist, key=lambda e: (e.name, e.style != "normal", _weight_off(e), e.fname)):
        if not entry.name.startswith(NOT_FOR_TEXT):
            entries.setdefault(entry.name, entry)
    return entries


def _weight_off(entry: FontEntry) -> int:
    """Return the distance of a font's weight from regular; matplotlib keeps weights as numbers, or as words."""
    return abs(entry.weight - 400) if isinstance(entry.weight, int) else int(entry.weight not in ("normal", "regular"))


def _covered(entry: FontEntry, characters: Iterable[str]) -> set[str]:
    try:
        glyphs = FT2Font(entry.fname).get_charmap()
    except (OSError, RuntimeError):  # a missing or broken file covers nothing
        return set()
    return {c for c in characters if ord(c) in glyphs}
