"""Words: one token for each piece of text between single spaces that occurs often enough; the others are unknown.

    texts  "a b a", "b c"    words  a b (c occurs once)    "a c b" -> 6 <unknown> 7

For text that is tokenized already, one space between words, as corpora for classification and translation often are.
"""

import collections
import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Int, Int32, Int64

from experiments.data.stored_json import Fields
from experiments.data.tokenizers.tokens import FIRST, KEPT, REPLACEMENT, SPACE, Tokenizer, described, for_json
from transformer.errors import problem

LEAST = 2
"""Smallest count of a known word in training, so that there are unknown words to learn from."""


@dataclasses.dataclass(frozen=True)
class Words(Tokenizer):
    """Tokenizer whose id 6 + i is the i-th word, the most frequent first, equals in the order of code points.

    Text of known words decodes unchanged, whatever its spaces: two spaces are an empty word between them.
    """

    words: tuple[str, ...]

    unit: ClassVar[str] = "words"
    space_before: ClassVar[bool] = True
    space_after: ClassVar[bool] = True

    @classmethod
    def fit(cls, texts: Iterable[str], vocab_size: int | None = None) -> "Words":
        """Build the tokenizer of the words that occur twice or more, at most `vocab_size` less the special ids.

        Raises:
            UserError: vocab_size leaves no room for any.
        """
        counts = collections.Counter(word for text in texts for word in text.split(SPACE))
        if vocab_size is not None:
            cls.check_size(vocab_size)
        often = sorted((word for word, count in counts.items() if count >= LEAST), key=lambda w: (-counts[w], w))
        return cls(tuple(often if vocab_size is None else often[: vocab_size - FIRST]))

    @staticmethod
    def check_size(vocab_size: int) -> None:
        """Raise a UserError for a vocabulary without room for a word."""
        if vocab_size <= FIRST:
            raise problem(
                "tokenizer.vocab_size does not hold the special tokens and a word",
                got=vocab_size,
                expected=f"{FIRST + 1} or more",
            )

    @property
    def size(self) -> int:
        """Number of ids, special tokens included, V."""
        return FIRST + len(self.words)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {word: FIRST + i for i, word in enumerate(self.words)}

    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """Return the ids of a text's words; an empty text has none."""
        words = text.split(SPACE) if text else []
        return np.fromiter((self._ids.get(word, self.unknown) for word in words), np.int32, len(words))

    def unknown_parts(self, text: str) -> set[str]:
        """Collect the unknown words of a text."""
        return set(text.split(SPACE) if text else []) - self._ids.keys()

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """Join the words by spaces: special tokens are left out, unknown ones become U+FFFD."""
        kept = (int(token) for token in ids)
        return SPACE.join(self._word(token) for token in kept if not 0 <= token < FIRST or token == self.unknown)

    @functools.cached_property
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """Number of bytes of each word and the space before it (which a text's first word lacks); 0 for special ids."""
        return np.array([0] * FIRST + [len(word.encode("utf-8", "surrogatepass")) + 1 for word in self.words], np.int64)

    def to_json(self) -> str:
        """Write everything that `from_json` needs."""
        return json.dumps({"name": "words", "words": [for_json(word) for word in self.words]})

    @classmethod
    def from_json(cls, text: str) -> "Words":
        """Build the tokenizer that `to_json` described. Raises UserError for anything else."""
        return cls(tuple(map("".join, described(text, Fields({"words": [KEPT]}))["words"])))

    def label(self, token: int) -> str:
        return self._word(token) or SPACE  # the empty word, which stands between two spaces

    def _word(self, token: int) -> str:
        return self.words[token - FIRST] if FIRST <= token < self.size else REPLACEMENT
