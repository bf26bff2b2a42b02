"""The table of tokenizers, from text to token ids and back: one row of TOKENIZERS for each kind.

    name          a token is
    characters    a Unicode code point of the training texts
    bytes         a byte of UTF-8
    words         a text between spaces that occurs twice or more
    bpe           a frequent string of bytes, learned from the training texts
    file          what a given tokenizer.json defines

The first six ids are the same in every tokenizer (`SpecialTokens`); a tokenizer never makes them from text, except
`unknown`. The end token is not the padding token.

One from outside is a subclass of `Tokenizer`, named by its path: `--config.tokenizer.name=my_lab.tokens:Syllables`. Its
`to_json` returns an object that its `from_json` reads; which class reads a stored one is decided by the config alone.
"""

import dataclasses
import inspect
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from experiments.data import stored_json
from experiments.data.tokenizers.bpe import DEFAULT_SIZE, SMALLEST, BytePairs
from experiments.data.tokenizers.bytes import Bytes
from experiments.data.tokenizers.characters import Characters
from experiments.data.tokenizers.file import TokenizerFile
from experiments.data.tokenizers.tokens import FIRST, SpecialTokens, Tokenizer, described
from experiments.data.tokenizers.words import Words
from transformer.errors import UserError, find_row, problem, shorten
from transformer.read_by import Condition, refuse_unread, unread, when
from transformer.schema import at_least, not_empty, setting
from transformer.tables import Choice, Row, Table

__all__ = [
    "TOKENIZERS",
    "Characters",
    "SpecialTokens",
    "Tokenizer",
    "TokenizerConfig",
    "TokenizerRow",
    "check",
    "fit",
    "from_json",
]

EXAMPLE = ("ab ba ab", "b a")
"""Texts to which a tokenizer from outside is fitted when it is checked."""


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizerRow(Row):
    """A row of TOKENIZERS.

    Attributes:
        kind: subclass of `Tokenizer` with `fit(texts, **settings that it reads)`, `to_json()` and `from_json(text)`; if
            it reads `vocab_size`, perhaps with `check_size(vocab_size)`. In a row with settings, `fit` also takes
            `settings`.
    """

    kind: type[Tokenizer]

    @property
    def reads(self) -> tuple[str, ...]:
        """The settings that it reads: the arguments of `fit` after the texts."""
        fit = getattr(self.kind, "fit", None)  # a row from outside may not have been checked yet
        names = () if fit is None else tuple(inspect.signature(fit).parameters)[1:]
        return tuple(name for name in names if name != "settings")

    def fit(self, texts: Iterable[str], **read: Any) -> Tokenizer:
        """Fit a tokenizer to texts."""
        return self.kind.fit(texts, **read, **self.own)


def _check_row(row: TokenizerRow, what: str) -> None:
    """Check a tokenizer from outside; where it needs no file, fit it to two texts, encode one, store and read it."""
    if not (isinstance(row.kind, type) and issubclass(row.kind, Tokenizer)):
        raise problem(f"{what} is no tokenizer", got=shorten(repr(row.kind)), expected=TOKENIZERS.expected)
    methods = [name for name in ("fit", "to_json", "from_json") if not hasattr(row.kind, name)]
    if lacking := sorted({*methods, *getattr(row.kind, "__abstractmethods__", ())}):
        raise problem(f"{what} lacks {', '.join(lacking)}", expected=TOKENIZERS.expected)
    known = {field.name for field in dataclasses.fields(TokenizerConfig)}
    if more := [name for name in row.reads if name not in known]:
        do = "Name its own settings in a dataclass: TokenizerRow(kind, settings=...)."
        raise problem(f"{what} reads settings that section tokenizer does not have", got=", ".join(more), do=do)
    if "path" not in row.reads:
        try:
            _try(row, what)
        except UserError:
            raise
        except Exception as error:  # the class is the user's own, and may raise anything
            raise problem(f"{what} fails on a small example", got=f"{type(error).__name__}: {error}") from error


def _try(row: TokenizerRow, what: str) -> None:
    tokenizer = row.fit(EXAMPLE)
    text, described = EXAMPLE[0], tokenizer.to_json()
    ids = tokenizer.encode(text)
    fits = isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype == np.int32
    if not fits or not ((ids >= tokenizer.unknown) & (ids < tokenizer.size)).all():
        expected = f"an array of ids, int32, from {FIRST} (or {tokenizer.unknown}, unknown) to below its size"
        raise problem(f"{what} encodes {text!r} as something else", got=shorten(repr(ids)), expected=expected)
    if not isinstance(json.loads(described), dict):
        raise problem(f"{what}: to_json gave no object", got=shorten(described), expected='{"name": value, ...}')
    again = row.kind.from_json(described)
    if not np.array_equal(again.encode(text), ids):
        what = f"{what} encodes {text!r} differently once it is stored and read"
        raise problem(what, got=shorten(repr(again.encode(text))), expected=shorten(repr(ids)))


ROWS = {
    name: TokenizerRow(kind)
    for name, kind in (
        ("characters", Characters),
        ("bytes", Bytes),
        ("words", Words),
        ("bpe", BytePairs),
        ("file", TokenizerFile),
    )
}

TOKENIZERS = Table(
    "tokenizer",
    TokenizerRow,
    ROWS,
    make=TokenizerRow,
    expected="a subclass of experiments.data.tokenizers.tokens.Tokenizer with fit, to_json and from_json",
    check=_check_row,
)


def _kinds_with(name: str) -> Condition:
    """Return the condition of a setting of some tokenizers."""
    do = "Leave it out, or change tokenizer.name."
    kinds = [row for row, own in ROWS.items() if name in own.reads]
    return dataclasses.replace(
        when("tokenizer.name", *kinds, choice="tokenizer", do=do),
        holds=lambda row: name in TOKENIZERS.find(row).reads,
        who=lambda row: f"tokenizer {str(row)!r}",
    )


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Kind of tokens, and the size of the vocabulary."""

    name: Choice = setting(
        "characters",
        "kind of token: characters, bytes, words that occur at least twice, pieces learned from the text (bpe), or"
        " those of a file",
        table=TOKENIZERS,
    )
    vocab_size: int | None = setting(
        None,
        f"maximum size of the vocabulary (tokens), of bpe {SMALLEST} or more; none: {DEFAULT_SIZE:,} of bpe, all words"
        " that occur at least twice",
        check=at_least(FIRST + 1, 2**24),
        read_by=_kinds_with("vocab_size"),
    )
    path: str | None = setting(
        None, "path of a tokenizer.json in the format of Hugging Face", check=not_empty, read_by=_kinds_with("path")
    )
    target_path: str | None = setting(
        None,
        "path of the tokenizer.json of the targets",
        check=not_empty,
        read_by=Condition(
            ("tokenizer.name", "tokenizer.shared"),
            holds=lambda name, shared: "path" in TOKENIZERS.find(name).reads and not shared,
            who=lambda name, shared: f"tokenizer {str(name)!r} with tokenizer.shared {shared}",
            expected="file, and tokenizer.shared false",
            do="Leave it out, or change tokenizer.name and tokenizer.shared.",
        ),
    )
    shared: bool = setting(True, "one tokenizer for source and target; false: one each")


def check(config: TokenizerConfig) -> None:
    """Check that the settings fit each other; read no file.

    Raises:
        UserError: an unknown tokenizer, a setting that it does not read, or one that it lacks.
    """
    kind = TOKENIZERS.find(config.name).kind
    refuse_unread(config, "tokenizer")
    if config.vocab_size is not None and hasattr(kind, "check_size"):
        kind.check_size(config.vocab_size)
    not_read = unread(config, "tokenizer")
    for name in ("path", "target_path"):
        if f"tokenizer.{name}" not in not_read and getattr(config, name) is None:
            raise problem(
                f"tokenizer {str(config.name)!r} lacks tokenizer.{name}",
                got="none",
                expected="the path of a tokenizer.json",
            )


def fit(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Fit the config's tokenizer to the training texts; that of the sources, where there are two.

    Raises:
        UserError: see `check`; a file that cannot be read as a tokenizer.
    """
    check(config)
    row = TOKENIZERS.of(config, "name")
    return row.fit(texts, **{name: getattr(config, name) for name in row.reads})


def from_json(text: str, name: Choice | None = None) -> Tokenizer:
    """Build the tokenizer that some tokenizer's `to_json` described.

    Args:
        name: that of the run's config, by which a tokenizer from outside is found; the text names no code.

    Raises:
        UserError: it is not what a tokenizer writes, or names an unknown one.
    """
    if name is not None and TOKENIZERS.module_of(name) is not None:
        row = TOKENIZERS.find(name)
        try:
            return row.kind.from_json(text)
        except UserError:
            raise
        except Exception as error:  # the class is the user's own, and may raise anything
            got = f"{type(error).__name__}: {error}"
            raise problem(f"tokenizer {str(name)!r} cannot read its description", got=got) from error
    own = described(text, stored_json.Fields({"name": str}))["name"]
    return find_row("tokenizer", ROWS, own).kind.from_json(text)
