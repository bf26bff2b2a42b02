"""Characters: one token a Unicode code point of the training texts."""

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Int, Int32, Int64, UInt32

from experiments.data.ragged import Ragged, offsets_of
from experiments.data.tokenizers.tokens import FIRST, REPLACEMENT, Tokenizer
from transformer.errors import problem


@dataclasses.dataclass(frozen=True)
class Characters(Tokenizer):
    """One token a Unicode code point; id 6 + i is the i-th of the alphabet, which is sorted.

    A character that is not of the alphabet becomes `unknown`, which counts no bytes.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    alphabet: str

    def __post_init__(self):
        if list(self.alphabet) != sorted(set(self.alphabet)):
            raise problem(
                "the alphabet of a character tokenizer is not sorted, or has a character twice",
                got=repr(self.alphabet[:40]),
                do="Use Characters.fit(texts).",
            )

    @classmethod
    def fit(cls, texts: Iterable[str]) -> "Characters":
        """The tokenizer of all characters that occur in the texts."""
        seen: set[str] = set()
        for text in texts:
            seen.update(text)
        return cls("".join(sorted(seen)))

    @property
    def size(self) -> int:
        """V, special tokens included."""
        return FIRST + len(self.alphabet)

    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """The ids of a text's characters; `unknown` for one that is not of the alphabet."""
        return self._id_of[np.minimum(_codes(text), len(self._id_of) - 1)]

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """`encode` of each text, of all at once."""
        return Ragged(self.encode("".join(texts)), offsets_of(self.lengths(texts)))

    def lengths(self, texts: Sequence[str]) -> Int64[np.ndarray, "N"]:
        """How many tokens `encode` makes of each text, without making them."""
        return np.fromiter(map(len, texts), np.int64, len(texts))

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """The text of all ids: special tokens are left out, `unknown` and ids beyond V are shown as U+FFFD."""
        return "".join(self._text(int(token)) for token in ids)

    @property
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """How many bytes of UTF-8 each id stands for; 0 for special ids."""
        return np.array([0] * FIRST + [len(c.encode("utf-8", "surrogatepass")) for c in self.alphabet], np.int64)

    def to_json(self) -> str:
        """Everything that `from_json` needs."""
        return json.dumps({"name": "characters", "alphabet": self.alphabet})

    @classmethod
    def from_json(cls, text: str) -> "Characters":
        """The tokenizer that `to_json` described."""
        return cls(json.loads(text)["alphabet"])

    @functools.cached_property
    def _id_of(self) -> Int32[np.ndarray, "_"]:
        """The id of each code point, up to one that is beyond the alphabet and stands for all that follow."""
        alphabet = _codes(self.alphabet)
        ids = np.full(int(alphabet.max(initial=0)) + 2, self.unknown, np.int32)
        ids[alphabet] = np.arange(FIRST, self.size, dtype=np.int32)
        return ids

    def _text(self, token: int) -> str:
        if 0 <= token < FIRST:
            return REPLACEMENT if token == self.unknown else ""
        return self._label(token) if 0 <= token < self.size else REPLACEMENT

    def _label(self, token: int) -> str:
        return self.alphabet[token - FIRST]


def _codes(text: str) -> UInt32[np.ndarray, "T"]:
    """The code points of a text (a lone surrogate, as of a badly encoded command line, is one too)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
