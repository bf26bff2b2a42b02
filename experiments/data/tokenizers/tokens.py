"""The interface of every tokenizer: special ids first, then the ids of its own pieces of text.

id      0          1        2      3            4       5          6 .. V - 1
token   <padding>  <begin>  <end>  <separator>  <mask>  <unknown>  text

encode("ab") -> [6 7]        decode([6 7 2]) -> "ab"        tokens([6 7 2]) -> ["a" "b" "<end>"]

Two texts next to each other are not read and written as each alone: `decode_after` keeps the space that joins an answer
to its prompt, `encode_around_gaps` leaves the space before a gap to the token of the gap.
"""

import abc
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int, Int32, Int64

from experiments.data.ragged import Ragged
from experiments.data.stored_json import Fields, parse_json


class SpecialTokens:
    """Ids that stand for no text, the same in every tokenizer."""

    padding: ClassVar[int] = 0
    begin: ClassVar[int] = 1
    end: ClassVar[int] = 2
    separator: ClassVar[int] = 3
    mask: ClassVar[int] = 4
    unknown: ClassVar[int] = 5
    special: ClassVar[tuple[str, ...]] = ("padding", "begin", "end", "separator", "mask", "unknown")


FIRST = len(SpecialTokens.special)
"""Smallest id that stands for text."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""Text of an unknown token."""

SPACE = " "

PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Both halves of a surrogate pair of UTF-16, which a string of Python can hold apart."""


def described(text: str, shape: Fields) -> dict[str, Any]:
    """Parse what a tokenizer's `to_json` wrote; an alphabet may have half of a surrogate pair.

    Raises:
        UserError: it is not of this shape.
    """
    return parse_json(text, "the description of a tokenizer", shape, surrogates=True)


def for_json(text: str) -> str | list[str]:
    """Return a text as JSON keeps it: its characters where both halves of a surrogate pair meet, which JSON joins."""
    return list(text) if not text.isascii() and PAIR.search(text) else text


KEPT = (str, [str])
"""Shape of what `for_json` returns; "".join gives the text again."""


class Tokenizer(SpecialTokens, abc.ABC):
    """A map from text to token ids and back. Ids are 0 to V - 1; no text has one below `FIRST`, except `unknown`."""

    unit: ClassVar[str] = "characters"
    """Name of what can be unknown, for warnings."""
    space_before: ClassVar[bool] = False
    """True where the space before a piece of text is no token of its own, but belongs to the token of the piece."""
    space_after: ClassVar[bool] = False
    """True where the space after a piece of text is no token of its own."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of ids, special tokens included, V."""

    @abc.abstractmethod
    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """Encode a text, without begin and end."""

    @abc.abstractmethod
    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """Decode all ids: special tokens are left out, `unknown` and ids beyond V become U+FFFD."""

    @property
    @abc.abstractmethod
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """Number of bytes of UTF-8 for which each id stands; 0 for special ids."""

    @abc.abstractmethod
    def label(self, token: int) -> str:
        """Return the label of an id that stands for text, its white space as it is; `tokens` shows it."""

    def decode_after(self, before: Iterable[int], ids: Iterable[int]) -> str:
        """Decode ids that follow others, as they are printed: what they add to the text of those before.

        Special tokens are left out, as in `decode`; `unknown` and ids that stand for no text are written by their
        names.
        """
        text, read = "", [int(token) for token in before]
        for plain, run in itertools.groupby(map(int, ids), self._stands_for_text):
            for part in [list(run)] if plain else [[token] for token in run]:
                added = self._added_text(read, part)
                text += added if plain else added.removesuffix(REPLACEMENT) + self._shown(part[0])
                read += part
        return text

    def around_gaps(self, pieces: Sequence[str]) -> list[str]:
        """Return the pieces of a text between its gaps without the spaces that belong to the tokens of the gaps."""
        pieces = [piece.removesuffix(SPACE) if self.space_before else piece for piece in pieces[:-1]] + [*pieces[-1:]]
        return [*pieces[:1], *(piece.removeprefix(SPACE) if self.space_after else piece for piece in pieces[1:])]

    def encode_around_gaps(self, pieces: Sequence[str]) -> list[Int32[np.ndarray, "_"]]:
        """Encode the pieces of a text between its gaps, each as it is read behind a token of the gap."""
        return [self.encode(piece) for piece in self.around_gaps(pieces)]

    def unknown_parts(self, text: str) -> set[str]:
        """Collect the parts of a text, each a `unit`, that are read as unknown."""
        return {character for character in set(text) if self.unknown in self.encode(character)}

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """Encode each text."""
        return Ragged.of([self.encode(text) for text in texts])

    def lengths(self, texts: Sequence[str]) -> Int64[np.ndarray, "N"]:
        """Count the tokens of each text."""
        return self.encode_all(texts).lengths

    def tokens(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> list[str]:
        """Return a label for each id, for the axes of a picture: <end> for a special token, ␣ for white space.

        An id that stands for no text, such as one beyond V, is <id 300>.
        """
        return [self._shown(int(token)) for token in ids]

    def _shown(self, token: int) -> str:
        if 0 <= token < FIRST:
            return f"<{self.special[token]}>"
        if not self._owns(token):
            return f"<id {token}>"
        return visible(self.label(token))

    def _owns(self, token: int) -> bool:
        """Return whether an id stands for text."""
        return FIRST <= token < self.size

    def _stands_for_text(self, token: int) -> bool:
        """Return whether `decode` writes an id as it is: True for text, and for special tokens, which it leaves out."""
        return token != self.unknown and (0 <= token < FIRST or self._owns(token))

    def _added_text(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """Decode ids behind others; alone, where a decoder changes what stands before them."""
        start, whole = self.decode(before), self.decode([*before, *ids])
        return whole.removeprefix(start) if whole.startswith(start) else self.decode(ids)


def visible(text: str) -> str:
    """Return a text with ␣ for each character of white space."""
    return "".join("␣" if character.isspace() else character for character in text)
