"""The table of tokenizers, from text to token ids and back: one row of TOKENIZERS for each kind.

    name          a token is
    characters    a Unicode code point of the training texts
    bytes         a byte of UTF-8
    words         a text between spaces that occurs twice or more
    bpe           a frequent string of bytes, learned from the training texts
    file          what a given tokenizer.json defines

The first six ids are the same in every tokenizer (`SpecialTokens`); a tokenizer never makes them from text, except
`unknown`. The end token is not the padding token.
"""

import dataclasses
import inspect
from collections.abc import Iterable

from experiments.data.stored_json import Table
from experiments.data.tokenizers.bpe import DEFAULT_SIZE, SMALLEST, BytePairs
from experiments.data.tokenizers.bytes import Bytes
from experiments.data.tokenizers.characters import Characters
from experiments.data.tokenizers.file import TokenizerFile
from experiments.data.tokenizers.tokens import FIRST, SpecialTokens, Tokenizer, described
from experiments.data.tokenizers.words import Words
from transformer.errors import find_row, problem
from transformer.read_by import Condition, refuse_unread, unread, when
from transformer.schema import at_least, not_empty, setting

__all__ = ["TOKENIZERS", "Characters", "SpecialTokens", "Tokenizer", "TokenizerConfig", "check", "fit", "from_json"]

TOKENIZERS = {"characters": Characters, "bytes": Bytes, "words": Words, "bpe": BytePairs, "file": TokenizerFile}
"""Name -> subclass of `Tokenizer` with `fit(texts, **settings that it reads)`, `to_json()` and `from_json(text)`; if it
reads `vocab_size`, with `check_size(vocab_size)`."""


def settings_of(kind: type[Tokenizer]) -> tuple[str, ...]:
    """List the settings that a tokenizer reads: the arguments of `fit` after the texts."""
    return tuple(inspect.signature(kind.fit).parameters)[1:]


def _kinds_with(name: str) -> Condition:
    """Return the condition of a setting of some tokenizers."""
    kinds = [row for row, kind in TOKENIZERS.items() if name in settings_of(kind)]
    do = "Leave it out, or change tokenizer.name."
    return when("tokenizer.name", *kinds, choice="tokenizer", do=do)


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Kind of tokens, and the size of the vocabulary."""

    name: str = setting(
        "characters",
        "kind of token: characters, bytes, words that occur at least twice, pieces learned from the text (bpe), or"
        " those of a file",
        allowed=TOKENIZERS,
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
            holds=lambda name, shared: "path" in settings_of(TOKENIZERS[name]) and not shared,
            who=lambda name, shared: f"tokenizer {name!r} with tokenizer.shared {shared}",
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
    kind = find_row("tokenizer", TOKENIZERS, config.name)
    refuse_unread(config, "tokenizer")
    if config.vocab_size is not None:
        kind.check_size(config.vocab_size)
    not_read = unread(config, "tokenizer")
    for name in ("path", "target_path"):
        if f"tokenizer.{name}" not in not_read and getattr(config, name) is None:
            raise problem(
                f"tokenizer {config.name!r} lacks tokenizer.{name}",
                got="none",
                expected="the path of a tokenizer.json",
            )


def fit(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Fit the config's tokenizer to the training texts; that of the sources, where there are two.

    Raises:
        UserError: see `check`; a file that cannot be read as a tokenizer.
    """
    check(config)
    kind = TOKENIZERS[config.name]
    return kind.fit(texts, **{name: getattr(config, name) for name in settings_of(kind)})


def from_json(text: str) -> Tokenizer:
    """Build the tokenizer that some tokenizer's `to_json` described.

    Raises:
        UserError: it is not what a tokenizer writes, or names an unknown one.
    """
    name = described(text, Table({"name": str}))["name"]
    return find_row("tokenizer", TOKENIZERS, name).from_json(text)
