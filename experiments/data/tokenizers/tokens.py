"""The interface of every tokenizer: special ids first, then the ids of its own pieces of text.

id      0          1        2      3            4       5          6 .. V - 1
token   <padding>  <begin>  <end>  <separator>  <mask>  <unknown>  text

encode("ab") -> [6 7]        decode([6 7 2]) -> "ab"        tokens([6 7 2]) -> ["a" "b" "<end>"]
"""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int, Int32, Int64

from experiments.data.ragged import Ragged
from experiments.data.stored_json import Table, parse_json


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


def described(text: str, shape: Table) -> dict[str, Any]:
    """Parse what a tokenizer's `to_json` wrote; an alphabet may have half of a surrogate pair.

    Raises:
        UserError: it is not of this shape.
    """
    return parse_json(text, "the description of a tokenizer", shape, surrogates=True)


class Tokenizer(SpecialTokens, abc.ABC):
    """A map from text to token ids and back. Ids are 0 to V - 1; no text has one below `FIRST`, except `unknown`."""

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
    def _label(self, token: int) -> str:
        """Return the label of an id that stands for text, with its white space as it is."""

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """Encode each text."""
        return Ragged.of([self.encode(text) for text in texts])

    def lengths(self, texts: Sequence[str]) -> Int64[np.ndarray, "N"]:
        """Count the tokens of each text."""
        return self.encode_all(texts).lengths

    def tokens(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> list[str]:
        """Return a label for each id, for the axes of a picture: <end> for a special token, ␣ for white space."""
        return [self._shown(int(token)) for token in ids]

    def _shown(self, token: int) -> str:
        if 0 <= token < FIRST:
            return f"<{self.special[token]}>"
        if not FIRST <= token < self.size:
            return REPLACEMENT
        return "".join("␣" if character.isspace() else character for character in self._label(token))
