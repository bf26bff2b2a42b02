"""Subwords by the `tokenizers` library: the base of a BPE of our own and of a given tokenizer.json.

text --library--> ids 0 .. --+ FIRST--> ids 6 .. V - 1, behind the special tokens
"""

import json
import re
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import tokenizers
from jaxtyping import Int32

from experiments.data.ragged import Ragged
from experiments.data.stored_json import Fields, parse_json
from experiments.data.tokenizers.tokens import FIRST, Tokenizer, described
from transformer.errors import problem

SURROGATE = re.compile("([\ud800-\udfff])")
"""Half of a surrogate pair of UTF-16, which a string of Python can hold; UTF-8, so the library, cannot."""

SPACES = frozenset({" ", "\N{LOWER ONE EIGHTH BLOCK}", "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"})
"""Space as the library's tokens write it: itself, as in SentencePiece, as in GPT-2's alphabet of bytes."""

TOGETHER = 4096
"""Number of texts that the library encodes at a time: it takes far more memory for a token than `Ragged` does."""


class Subwords(Tokenizer):
    """A tokenizer of the library, its ids moved up by `FIRST`.

    Args:
        description: the text of a tokenizer.json, in the library's format.

    Raises:
        UserError: the text is not one.
    """

    name: ClassVar[str]

    def __init__(self, description: str):
        self.description = description
        self.library = library_of(description)
        # A file may switch on both, which would change texts without a word.
        self.library.no_truncation()
        self.library.no_padding()

    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """Encode a text, without begin and end."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """Encode each text, on all cores.

        Raises:
            UserError: a file's model has no token for a text, not even an unknown one.
        """
        texts = [text if text.isascii() or not SURROGATE.search(text) else self._legal(text) for text in texts]
        rows = []
        for at in range(0, len(texts), TOGETHER):
            encodings = encoded(self.library, texts[at : at + TOGETHER])
            rows += [np.array(encoding.ids, np.int32) for encoding in encodings]
        ids = Ragged.of(rows)
        return Ragged(ids.tokens + np.int32(FIRST), ids.offsets)

    def to_json(self) -> str:
        """Write everything that `from_json` needs: the whole of the library's description."""
        return json.dumps({"name": self.name, "tokenizer": json.loads(self.description)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Build the tokenizer that `to_json` described. Raises UserError for anything else."""
        return cls(json.dumps(described(text, Fields({"tokenizer": dict}))["tokenizer"]))

    def _legal(self, text: str) -> str:
        """Replace each lone surrogate by U+FFFD."""
        return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())


def encoded(library: tokenizers.Tokenizer, texts: Sequence[str], *, offsets: bool = False) -> list[tokenizers.Encoding]:
    """Encode texts by the library, without special tokens around them.

    Args:
        offsets: adds to each token the part of the text from which it was made.

    Raises:
        UserError: the model has no token for a text, not even an unknown one.
    """
    try:
        encode = library.encode_batch if offsets else library.encode_batch_fast
        return encode(list(texts), add_special_tokens=False)
    except Exception as error:  # the library raises Exception itself
        raise problem(f"the tokenizer cannot encode a text: {_line(error)}") from error


def starts_with_space(library: tokenizers.Tokenizer) -> bool:
    """Return whether some tokens are a space with more behind it."""
    return any(len(token) > 1 and token[0] in SPACES for token in library.get_vocab())


def library_of(description: str) -> tokenizers.Tokenizer:
    """Build the library's tokenizer of a tokenizer.json's text.

    Raises:
        UserError: it is not one.
    """
    try:
        parse_json(description, "the file", Fields({"model": dict}))
        return tokenizers.Tokenizer.from_str(description)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises Exception itself, and another kind where it fails inside
        raise problem(
            f"not a tokenizer.json: {_line(error)}",
            got=repr(description[:40]),
            expected='what the tokenizers library writes: a JSON object with "model", "pre_tokenizer", "decoder", ...',
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
