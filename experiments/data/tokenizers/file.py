"""A given tokenizer.json, in the format of Hugging Face.

the file's id i    ->    id 6 + i
its special tokens       recognised in a text, never added to it
its unknown token        a token like any other
"""

import functools
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tokenizers
from jaxtyping import Int, Int32, Int64

from experiments.data.stored_json import read_text
from experiments.data.tokenizers.bytes import token_bytes
from experiments.data.tokenizers.subwords import SPACES, Subwords, encoded, starts_with_space
from experiments.data.tokenizers.tokens import FIRST, REPLACEMENT, SPACE
from transformer.errors import UserError, nearest, problem

BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")
"""Name of a token of one byte in a model with `byte_fallback`."""

ANCHOR = "a"
"""Text before a space, to find out how a file reads what stands behind one."""


class TokenizerFile(Subwords):
    """A given tokenizer: its ids, moved up by 6, and the special ids of ours.

    Special tokens of its own are not added to a text, but are recognised where the text names them, and are decoded;
    its unknown token is a token like any other. Text may decode differently, as the file decides.
    A lone surrogate, which the library does not take, reads as U+FFFD.
    """

    name: ClassVar[str] = "file"
    unit: ClassVar[str] = "parts of the text"

    @classmethod
    def fit(cls, texts: Iterable[str], path: str | None = None) -> "TokenizerFile":
        """Read the tokenizer of the file at `path`; the texts are not read.

        Raises:
            UserError: no path, no such file, or it is not a tokenizer.json.
        """
        if path is None:
            raise problem(
                "tokenizer 'file' has no file", got="tokenizer.path none", expected="the path of a tokenizer.json"
            )
        try:
            description = _read(Path(path))
            return cls(description)
        except UserError as error:
            raise UserError(f"tokenizer file {path}: {error}") from error

    @functools.cached_property
    def size(self) -> int:
        """Number of ids, special tokens included, V."""
        return FIRST + 1 + max(self._own, default=-1)

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """Decode all ids: special tokens are left out, `unknown` and ids beyond V become U+FFFD."""
        known = [int(token) for token in ids if not 0 <= token < FIRST or token == self.unknown]
        runs = itertools.groupby(known, key=lambda token: token - FIRST in self._own)
        return "".join(self._decoded(list(run)) if ours else REPLACEMENT * len(list(run)) for ours, run in runs)

    @functools.cached_property
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """Number of bytes of UTF-8 for which each id stands; 0 for special ids, and for ids that the file leaves out.

        Exact for a byte-level model that adds no space in front; of the text after the file's normalizer, if it has
        one. An approximation for others: the growth of the decoded text when the token is repeated, so that a space
        which the decoder puts before it counts.
        """
        tokens = range(FIRST, self.size)
        if self._byte_level:
            lengths = [len(self._token_bytes(token)) for token in tokens]
        else:
            lengths = [self._growth(token) for token in tokens]
        return np.array([0] * FIRST + lengths, np.int64)

    @functools.cached_property
    def space_before(self) -> bool:
        """True unless a space between words is a token of its own."""
        text, normalizer, splitter = ANCHOR + SPACE + ANCHOR, self.library.normalizer, self.library.pre_tokenizer
        text = text if normalizer is None else normalizer.normalize_str(text)
        try:
            parts = encoded(self.library, [text])[0].tokens if splitter is None else _parts(splitter, text)
        except UserError:  # of a model that lacks the letter
            return True
        if any(part[:1] in SPACES for part in parts):
            return SPACES.isdisjoint(parts) and starts_with_space(self.library)
        return True  # no token has it

    def encode_around_gaps(self, pieces: Sequence[str]) -> list[Int32[np.ndarray, "_"]]:
        """Encode the pieces of a text between its gaps; one behind a gap and a space is no beginning of a text."""
        first, *others = self.around_gaps(pieces)
        return [self.encode(first), *(self._encode_behind(piece) for piece in others)]

    def _encode_behind(self, piece: str) -> Int32[np.ndarray, "T"]:
        """Encode a text that starts with a space, as behind another one."""
        if piece.startswith(SPACE):
            anchor, whole = self.encode_all([ANCHOR, ANCHOR + piece])
            if np.array_equal(whole[: len(anchor)], anchor):
                return whole[len(anchor) :]
        return self.encode(piece)

    def unknown_parts(self, text: str) -> set[str]:
        """Collect the parts of a text for which the file has its unknown token alone."""
        unknown = self._unknown_id
        if unknown is None:
            return set()
        text = self._legal(text)
        (encoding,) = encoded(self.library, [text], offsets=True)
        return {
            text[a:b].strip() for token, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if token == unknown
        }

    @functools.cached_property
    def _unknown_id(self) -> int | None:
        """Id of the file's unknown token, if it has one."""
        model = json.loads(self.description)["model"]
        name = model.get("unk_token")
        return model.get("unk_id") if name is None else self.library.token_to_id(name)

    def _owns(self, token: int) -> bool:
        return token - FIRST in self._own

    @functools.cached_property
    def _own(self) -> frozenset[int]:
        """Ids of the file, which may leave some out."""
        return frozenset(self.library.get_vocab().values())

    @functools.cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in _types(json.loads(self.description).get("decoder"))

    @functools.cached_property
    def _added(self) -> dict[int, str]:
        """Id of the file -> text of a token that is added to the model's own."""
        return {token: added.content for token, added in self.library.get_added_tokens_decoder().items()}

    def _token_bytes(self, token: int) -> bytes:
        if token - FIRST in self._added:
            return self._added[token - FIRST].encode()
        return token_bytes(self.library.id_to_token(token - FIRST) or "")

    def _growth(self, token: int) -> int:
        name = self.library.id_to_token(token - FIRST)
        if name is None:
            return 0
        if BYTE_TOKEN.fullmatch(name):
            return 1
        return len(self._decoded([token, token]).encode()) - len(self._decoded([token]).encode())

    def _decoded(self, tokens: list[int]) -> str:
        return self.library.decode([token - FIRST for token in tokens], skip_special_tokens=False)

    def label(self, token: int) -> str:
        if self._byte_level:
            return self._token_bytes(token).decode("utf-8", "backslashreplace")
        return self.library.id_to_token(token - FIRST) or REPLACEMENT


def _parts(splitter: tokenizers.pre_tokenizers.PreTokenizer, text: str) -> list[str]:
    """Split a text as the file does before its model reads it."""
    return [part for part, _ in splitter.pre_tokenize_str(text)]


def _types(part: Any) -> set[str]:
    """Collect the types of a component of a tokenizer.json and of the components in it."""
    if isinstance(part, dict):
        return {str(part.get("type"))}.union(*map(_types, part.values()))
    return set().union(*map(_types, part)) if isinstance(part, list) else set()


def _read(path: Path) -> str:
    """Read the text of a JSON file.

    Raises:
        UserError: no such file, with the nearest name of its folder; not readable, or not JSON.
    """
    if path.is_dir():
        raise problem("a folder", expected="a file", do=f"Did you mean {path / 'tokenizer.json'}?")
    if not path.exists():
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, beside)
        raise problem("no such file", do=f"Did you mean {path.parent / guess}?" if guess else None)
    return read_text(path)
