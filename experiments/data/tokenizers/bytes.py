"""Tokens that are strings of bytes: text is its UTF-8, so every text can be written and decodes unchanged.

    "hé"    bytes  68 c3 a9    ids  110 201 175    (6 + byte)

A lone surrogate, which UTF-8 does not allow, is written as its three bytes would be (Python's `surrogatepass`).
Byte-level BPE names its tokens in an alphabet of 256 visible characters, GPT-2's: a byte that is a visible character
of Latin-1 is that character, the others are U+0100 and the code points after it, in order.
"""

import abc
import functools
import json
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Int32, Int64

from experiments.data.ragged import Ragged, offsets_of
from experiments.data.tokenizers.tokens import FIRST, REPLACEMENT, Tokenizer

VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
HIDDEN = sorted(set(range(256)) - set(VISIBLE))

BYTE_OF = {chr(byte): byte for byte in VISIBLE} | {chr(0x100 + i): byte for i, byte in enumerate(HIDDEN)}
"""Character of GPT-2's alphabet -> byte."""


def token_bytes(token: str) -> bytes:
    """Return the bytes of a token that is named in GPT-2's alphabet; the UTF-8 of another one."""
    if all(character in BYTE_OF for character in token):
        return bytes(BYTE_OF[character] for character in token)
    return token.encode()


class ByteLevel(Tokenizer):
    """A tokenizer each of whose tokens is a string of bytes."""

    @property
    @abc.abstractmethod
    def pieces(self) -> list[bytes]:
        """Bytes of ids `FIRST` and up."""

    @property
    def size(self) -> int:
        """Number of ids, special tokens included, V."""
        return FIRST + len(self.pieces)

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """Decode all ids: special tokens are left out, `unknown` and ids beyond V become U+FFFD.

        Bytes that are no UTF-8, as a model may write them, become U+FFFD too.
        """
        joined = b"".join(self._bytes(int(token)) for token in ids)
        try:
            return joined.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return joined.decode("utf-8", "replace")

    def unknown_parts(self, text: str) -> set[str]:
        """Return the empty set: every text can be written."""
        return set()

    @property
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """Number of bytes of UTF-8 for which each id stands; 0 for special ids."""
        return np.array([0] * FIRST + [len(piece) for piece in self.pieces], np.int64)

    def _bytes(self, token: int) -> bytes:
        if 0 <= token < FIRST:
            return REPLACEMENT.encode() if token == self.unknown else b""
        return self.pieces[token - FIRST] if 0 <= token < self.size else REPLACEMENT.encode()

    def label(self, token: int) -> str:
        return self.pieces[token - FIRST].decode("utf-8", "backslashreplace")


class Bytes(ByteLevel):
    """Tokenizer with one token a byte of UTF-8; V = 262, whatever the texts."""

    @classmethod
    def fit(cls, texts: Iterable[str]) -> "Bytes":
        """Return the one tokenizer of bytes; the texts are not read."""
        return cls()

    @functools.cached_property
    def pieces(self) -> list[bytes]:
        """Bytes of ids `FIRST` and up."""
        return [bytes([byte]) for byte in range(256)]

    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """Return the ids of a text's bytes."""
        return _ids(text.encode("utf-8", "surrogatepass"))

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """Encode each text, all at once."""
        rows = [text.encode("utf-8", "surrogatepass") for text in texts]
        return Ragged(_ids(b"".join(rows)), offsets_of(np.fromiter(map(len, rows), np.int64, len(rows))))

    def to_json(self) -> str:
        """Write everything that `from_json` needs."""
        return json.dumps({"name": "bytes"})

    @classmethod
    def from_json(cls, text: str) -> "Bytes":
        """Build the tokenizer that `to_json` described."""
        return cls()

    def __eq__(self, other: object) -> bool:
        return type(other) is Bytes

    def __hash__(self) -> int:
        return hash(Bytes)


def _ids(text: bytes) -> Int32[np.ndarray, "T"]:
    return np.frombuffer(text, np.uint8).astype(np.int32) + np.int32(FIRST)
