"""What every tokenizer is: special ids first, then the ids of its own pieces of text."""

import abc
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Int, Int32, Int64

from experiments.data.ragged import Ragged


class SpecialTokens:
    """Ids that stand for no text."""

    padding: ClassVar[int] = 0
    begin: ClassVar[int] = 1
    end: ClassVar[int] = 2
    separator: ClassVar[int] = 3
    mask: ClassVar[int] = 4
    unknown: ClassVar[int] = 5
    special: ClassVar[tuple[str, ...]] = ("padding", "begin", "end", "separator", "mask", "unknown")


FIRST = len(SpecialTokens.special)
"""The smallest id that stands for text."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What an unknown token is shown as."""


class Tokenizer(SpecialTokens, abc.ABC):
    """Text to token ids and back. Ids are 0 to V - 1; text never makes one below `FIRST`, except `unknown`."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """V, special tokens included."""

    @abc.abstractmethod
    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """The ids of a text, without begin and end."""

    @abc.abstractmethod
    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """The text of all ids: special tokens are left out, `unknown` and ids beyond V are shown as U+FFFD."""

    @property
    @abc.abstractmethod
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """How many bytes of UTF-8 each id stands for; 0 for special ids."""

    @abc.abstractmethod
    def _label(self, token: int) -> str:
        """What a picture shows for an id that stands for text, white space and all."""

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """`encode` of each text."""
        return Ragged.of([self.encode(text) for text in texts])

    def lengths(self, texts: Sequence[str]) -> Int64[np.ndarray, "N"]:
        """How many tokens `encode` makes of each text."""
        return self.encode_all(texts).lengths

    def tokens(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> list[str]:
        """One label for each id, for the axes of a picture: <end> for a special token, ␣ for white space."""
        return [self._shown(int(token)) for token in ids]

    def _shown(self, token: int) -> str:
        if 0 <= token < FIRST:
            return f"<{self.special[token]}>"
        if not FIRST <= token < self.size:
            return REPLACEMENT
        return "".join("␣" if character.isspace() else character for character in self._label(token))
