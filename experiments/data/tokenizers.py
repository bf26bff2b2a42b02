"""Text to token ids and back: one row of TOKENIZERS for each kind.

The first six ids are the same in every tokenizer (`SpecialTokens`); a tokenizer never makes them from text, except
`unknown`. The end token is not the padding token.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Int, Int32

from transformer.errors import look_up, problem
from transformer.schema import setting


class SpecialTokens:
    """Ids that stand for no text."""

    padding: ClassVar[int] = 0
    begin: ClassVar[int] = 1
    end: ClassVar[int] = 2
    separator: ClassVar[int] = 3
    mask: ClassVar[int] = 4
    unknown: ClassVar[int] = 5
    special: ClassVar[tuple[str, ...]] = ("padding", "begin", "end", "separator", "mask", "unknown")


REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What an unknown token is shown as."""


@dataclasses.dataclass(frozen=True)
class Characters(SpecialTokens):
    """One token a Unicode code point; id 6 + i is the i-th of the alphabet, which is sorted."""

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
        return len(self.special) + len(self.alphabet)

    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """The ids of a text's characters; `unknown` for one that is not of the alphabet."""
        alphabet, codes = _codes(self.alphabet), _codes(text)
        if not alphabet.size:
            return np.full(codes.shape, self.unknown, np.int32)
        at = np.minimum(np.searchsorted(alphabet, codes), alphabet.size - 1)
        return np.where(alphabet[at] == codes, at + len(self.special), self.unknown).astype(np.int32)

    def lengths(self, texts: Sequence[str]) -> Int[np.ndarray, "B"]:
        """How many tokens `encode` makes of each text, without making them."""
        return np.fromiter(map(len, texts), np.int64, len(texts))

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of all ids: special tokens are left out, `unknown` and ids beyond V are shown as U+FFFD."""
        return "".join(self._text(int(token)) for token in ids)

    def tokens(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """One label for each id, for the axes of a picture: <end> for a special token, ␣ for white space."""
        return [self._label(int(token)) for token in ids]

    def to_json(self) -> str:
        """Everything that `from_json` needs."""
        return json.dumps({"name": "characters", "alphabet": self.alphabet})

    @classmethod
    def from_json(cls, text: str) -> "Characters":
        """The tokenizer that `to_json` described."""
        return cls(json.loads(text)["alphabet"])

    def _text(self, token: int) -> str:
        if 0 <= token < len(self.special):
            return REPLACEMENT if token == self.unknown else ""
        return self.alphabet[token - len(self.special)] if 0 <= token < self.size else REPLACEMENT

    def _label(self, token: int) -> str:
        if 0 <= token < len(self.special):
            return f"<{self.special[token]}>"
        text = self._text(token)
        return "␣" if text.isspace() else text


TOKENIZERS = {"characters": Characters}
"""Name -> class with `fit`, `from_json`, and the methods of Characters."""


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes tokens."""

    name: str = setting("characters", "the kind of token", allowed=TOKENIZERS)


def fit(config: TokenizerConfig, texts: Iterable[str]) -> Characters:
    """The config's tokenizer, fitted to the training texts.

    Raises:
        UserError: an unknown tokenizer.
    """
    return look_up("tokenizer", TOKENIZERS, config.name).fit(texts)


def from_json(text: str) -> Characters:
    """The tokenizer that some tokenizer's `to_json` described.

    Raises:
        UserError: it is not what a tokenizer writes, or names an unknown one.
    """
    try:
        return look_up("tokenizer", TOKENIZERS, json.loads(text)["name"]).from_json(text)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise problem(f"not the description of a tokenizer: {error}", got=repr(text[:40])) from error


def _codes(text: str) -> np.ndarray:
    """The code points of a text (a lone surrogate, as of a badly encoded command line, is one too)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
