"""Properties of tokenizers: round trips of random texts, ids that stand for text alone, the same ids when reopened."""

import dataclasses
import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.tokenizers.bpe import BytePairs
from experiments.data.tokenizers.table import TokenizerConfig, TokenizerRow, fit
from experiments.data.tokenizers.tokens import FIRST, REPLACEMENT, Tokenizer
from experiments.testing.processes import in_another_process
from transformer import schema

LETTERS = "abcdeXYZ019.,'-äßñжш中文🙂"
"""Characters of which words are made."""

SPELLED = ("<padding>", "<begin>", "<end>", "<separator>", "<mask>", "<unknown>", "<unk>", "[MASK]", "</s>", "<id 3>")
"""Texts that spell special tokens."""

STRANGE = ("Ω", "№ ⅷ", "\t\n", "e\N{COMBINING ACUTE ACCENT}", "\N{REPLACEMENT CHARACTER}", "אב ג")
"""Texts of characters that no tokenizer was fitted to."""


def drawn_texts(size: int) -> list[str]:
    """Draw texts of words between single spaces, each text twice, so that every word is known to a tokenizer."""
    draw = np.random.default_rng(size)
    words = ["".join(draw.choice(list(LETTERS), size=draw.integers(1, 6))) for _ in range(2 * size)]
    return [" ".join(draw.choice(words, size=draw.integers(1, 7))) for _ in range(size)] * 2


@dataclasses.dataclass(frozen=True)
class Example:
    """A tokenizer, and the texts that it is fitted to."""

    row: TokenizerRow
    settings: Mapping[str, Any]
    size: int

    @functools.cached_property
    def texts(self) -> list[str]:
        """The texts that it is fitted to."""
        return drawn_texts(self.size)

    @functools.cached_property
    def others(self) -> list[str]:
        """New texts of the same words, and one of the same characters in another order."""
        draw = np.random.default_rng(self.size + 1)
        words = sorted({word for text in self.texts for word in text.split(" ")})
        characters = sorted({*"".join(self.texts)})
        mixed = ["".join(draw.choice(characters, size=12)), "  ".join(words[:3]), " "]
        return ["", *(" ".join(draw.choice(words, size=5)) for _ in range(4)), *mixed]

    def fit(self, texts: Sequence[str] | None = None) -> Tokenizer:
        """Fit a tokenizer anew, as a run does."""
        values = {"name": self.row, **self.settings}
        if "path" not in self.row.reads or "path" in values:
            return fit(schema.from_dict(TokenizerConfig, values, "tokenizer"), iter(texts or self.texts))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_text(BytePairs.fit(self.texts).description, encoding="utf-8")
            return fit(schema.from_dict(TokenizerConfig, {**values, "path": str(path)}, "tokenizer"), iter(self.texts))

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the texts."""
        return self.fit()


@dataclasses.dataclass(frozen=True)
class Examples:
    """Tokenizers of one text to many."""

    sizes: tuple[int, ...] = (1, 2, 4, 12)

    def make(self, row: TokenizerRow, settings: Mapping[str, Any], size: int) -> Example:
        """Make the example of so many texts; the settings are those of section `tokenizer`."""
        schema.from_dict(TokenizerConfig, {"name": row, **settings}, "tokenizer")
        return Example(row, settings, size)


def round_trip(example: Example) -> str | None:
    """Decode the ids of texts, and compare: all whose ids know no unknown token, and some of those it was fitted to."""
    tokenizer, known = example.tokenizer, 0
    for text in [*example.texts, *example.others]:
        ids = tokenizer.encode(text)
        if tokenizer.unknown in ids:
            continue
        known += text in example.texts
        if tokenizer.decode(ids) != text:
            return f"{text!r} decodes to {tokenizer.decode(ids)!r}"
    return None if known else f"no text that it was fitted to is read without <unknown>, such as {example.texts[0]!r}"


def repeated(example: Example) -> str | None:
    """Fit a tokenizer to the same texts again, after it was fitted to others: its ids are the same."""
    one = example.tokenizer
    example.fit([*example.others, "another text"])
    return _compare(example.fit(), one, example, "fitted again")


def process(example: Example) -> str | None:
    """Fit a tokenizer to the same texts in another process, where sets have another order: its ids are the same."""
    found = in_another_process(
        "tokenizer", example.row, ids_of_texts, settings=dict(example.settings), size=example.size
    )
    for text, ids in found:
        if list(example.tokenizer.encode(text)) != ids:
            return f"{text!r} is {_ids(ids)} in another process, {_ids(example.tokenizer.encode(text))} in this one"
    return None


def ids_of_texts(row: TokenizerRow, settings: Mapping[str, Any], size: int) -> list[tuple[str, list[int]]]:
    """List the texts of an example with their ids."""
    example = Example(row, settings, size)
    return [(text, example.tokenizer.encode(text).tolist()) for text in [*example.texts, *example.others]]


def special(example: Example) -> str | None:
    """Look for ids of special tokens, but <unknown>, in texts that spell them, and in strange ones."""
    for text in [*example.texts, *example.others, *SPELLED, *STRANGE, example.texts[0] + SPELLED[2]]:
        ids = example.tokenizer.encode(text)
        if len(reserved := [token for token in ids if token < FIRST and token != example.tokenizer.unknown]):
            return f"{text!r} holds the special token {example.tokenizer.tokens(reserved[:1])[0]}: {_ids(ids)}"
    return None


def vocabulary(example: Example) -> str | None:
    """Compare ids, the lengths of tokens in bytes and the labels with the size of the vocabulary."""
    tokenizer = example.tokenizer
    for text in [*example.texts, *example.others, *STRANGE]:
        ids = tokenizer.encode(text)
        if not (isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype == np.int32):
            return f"{text!r} is no array of int32 of one axis, but {_ids(ids)}"
        if len(ids) and not 0 <= ids.min() <= ids.max() < tokenizer.size:
            return f"{text!r} is {_ids(ids)}, beyond the size of the vocabulary, {tokenizer.size}"
        if not all(isinstance(label, str) for label in tokenizer.tokens(ids)):
            return f"a token of {text!r} has a label that is no text"
    lengths = np.asarray(tokenizer.byte_lengths)
    if lengths.shape != (tokenizer.size,) or lengths[:FIRST].any() or (lengths < 0).any():
        return f"byte_lengths has shape {lengths.shape} for {tokenizer.size} ids, {_ids(lengths[:FIRST])} of special"
    return None


def stored(example: Example) -> str | None:
    """Store a tokenizer and open it again: its ids and texts are the same."""
    one = example.tokenizer
    again = example.row.kind.from_json(one.to_json())
    if again.to_json() != one.to_json():
        return "it is described otherwise once it is stored and opened"
    return _compare(again, one, example, "stored and opened")


def together(example: Example) -> str | None:
    """Compare the ids of many texts at once, and their lengths, with those of each alone."""
    texts, tokenizer = [*example.texts, *example.others, *STRANGE], example.tokenizer
    lengths = tokenizer.lengths(texts)
    for i, (text, ids) in enumerate(zip(texts, tokenizer.encode_all(texts), strict=True)):
        alone = tokenizer.encode(text)
        if not np.array_equal(ids, alone):
            return f"{text!r} is {_ids(ids)} among others, {_ids(alone)} alone"
        if lengths[i] != len(alone):
            return f"{text!r} has {lengths[i]} tokens by `lengths`, {len(alone)} by `encode`"
    return None


def decoded(example: Example) -> str | None:
    """Decode special tokens, which are left out, and <unknown> and ids beyond the vocabulary, which are U+FFFD."""
    tokenizer = example.tokenizer
    ids = tokenizer.encode(example.texts[0])
    around = [tokenizer.begin, *ids, tokenizer.end, tokenizer.padding, tokenizer.padding]
    if tokenizer.decode(around) != tokenizer.decode(ids):
        return f"with special tokens around it, {example.texts[0]!r} decodes to {tokenizer.decode(around)!r}"
    for token in (tokenizer.unknown, tokenizer.size):
        if REPLACEMENT not in tokenizer.decode([token]):
            return f"the id {token} decodes to {tokenizer.decode([token])!r}, not to U+FFFD"
    return None


def _compare(other: Tokenizer, one: Tokenizer, example: Example, words: str) -> str | None:
    if other.size != one.size:
        return f"{words}, it has {other.size} ids, not {one.size}"
    for text in [*example.texts, *example.others, *STRANGE]:
        ids, expected = other.encode(text), one.encode(text)
        if not np.array_equal(ids, expected):
            return f"{words}, {text!r} is {_ids(ids)}, not {_ids(expected)}"
        if other.decode(expected) != one.decode(expected):
            return f"{words}, {_ids(expected)} decodes to {other.decode(expected)!r}, not {one.decode(expected)!r}"
    return None


def _ids(ids: Any) -> str:
    shown = " ".join(str(token) for token in list(ids)[:8])
    return f"[{shown}{' ...' if len(ids) > 8 else ''}]"


PROPERTIES = (
    ("round_trip", round_trip),
    ("repeated", repeated),
    ("process", process),
    ("special", special),
    ("vocabulary", vocabulary),
    ("stored", stored),
    ("together", together),
    ("decoded", decoded),
)
"""Name -> property."""
