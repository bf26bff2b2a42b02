"""Characters: one token a Unicode code point of the training texts.

texts  "ba", "ca"    alphabet  a b c, sorted    ids  a 6, b 7, c 8; any other character <unknown>
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Int32, Int64, UInt32

from experiments.data.ragged import Ragged, offsets_of
from experiments.data.stored_json import Fields
from experiments.data.tokenizers.tokens import FIRST, KEPT, REPLACEMENT, Tokenizer, described, for_json
from transformer.errors import problem


@dataclasses.dataclass(frozen=True)
class Characters(Tokenizer):
    """Tokenizer with one token a Unicode code point; id 6 + i is the i-th of the alphabet, which is sorted.

    A character outside the alphabet becomes `unknown`, which counts no bytes.
    """

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
        """Build the tokenizer of all characters that occur in the texts."""
        characters: set[str] = set()
        for text in texts:
            characters.update(text)
        return cls("".join(sorted(characters)))

    @property
    def size(self) -> int:
        """Number of ids, special tokens included, V."""
        return FIRST + len(self.alphabet)

    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """Return the ids of a text's characters; `unknown` for one outside the alphabet."""
        return self._id_of[np.minimum(_codes(text), len(self._id_of) - 1)]

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """Encode each text, all at once."""
        return Ragged(self.encode("".join(texts)), offsets_of(self.lengths(texts)))

    def lengths(self, texts: Sequence[str]) -> Int64[np.ndarray, "N"]:
        """Count the tokens of each text without encoding it."""
        return np.fromiter(map(len, texts), np.int64, len(texts))

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """Decode all ids: special tokens are left out, `unknown` and ids beyond V become U+FFFD."""
        return "".join(self._text(int(token)) for token in ids)

    @property
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """Number of bytes of UTF-8 for which each id stands; 0 for special ids."""
        return np.array([0] * FIRST + [len(c.encode("utf-8", "surrogatepass")) for c in self.alphabet], np.int64)

    def to_json(self) -> str:
        """Write everything that `from_json` needs."""
        return json.dumps({"name": "characters", "alphabet": for_json(self.alphabet)})

    @classmethod
    def from_json(cls, text: str) -> "Characters":
        """Build the tokenizer that `to_json` described. Raises UserError for anything else."""
        return cls("".join(described(text, Fields({"alphabet": KEPT}))["alphabet"]))

    @functools.cached_property
    def _id_of(self) -> Int32[np.ndarray, "_"]:
        """Id of each code point, up to one that is beyond the alphabet and stands for all that follow."""
        alphabet = _codes(self.alphabet)
        ids = np.full(int(alphabet.max(initial=0)) + 2, self.unknown, np.int32)
        ids[alphabet] = np.arange(FIRST, self.size, dtype=np.int32)
        return ids

    def _text(self, token: int) -> str:
        if 0 <= token < FIRST:
            return REPLACEMENT if token == self.unknown else ""
        return self.label(token) if 0 <= token < self.size else REPLACEMENT

    def label(self, token: int) -> str:
        return self.alphabet[token - FIRST]


def _codes(text: str) -> UInt32[np.ndarray, "T"]:
    """Return the code points of a text (a lone surrogate, as of a badly encoded command line, is one too)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
