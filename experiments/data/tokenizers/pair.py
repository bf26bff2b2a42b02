"""The tokenizers of a run's sources and targets: one for both, or two whose ids lie in one vocabulary.

    ids    0 .. 5            6 .. V_s - 1    V_s .. V - 1
           special, of both  the source's    the target's, moved up by V_s - 6

where V_s is the size of the source's tokenizer. So a model has one table of embeddings, and no id means two things.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Int32, Int64

from experiments.data.ragged import Ragged
from experiments.data.stored_json import Fields
from experiments.data.tokenizers.table import TokenizerConfig, check, fit, from_json
from experiments.data.tokenizers.tokens import FIRST, Tokenizer, described
from transformer.errors import problem
from transformer.tables import Choice


@dataclasses.dataclass(frozen=True)
class OffsetTokenizer(Tokenizer):
    """A tokenizer whose ids, except the special ones, are moved up by `offset`; those in between stand for no text."""

    tokenizer: Tokenizer
    offset: int

    @property
    def size(self) -> int:
        """Number of ids, V, special tokens and the ids in between included."""
        return self.tokenizer.size + self.offset

    def encode(self, text: str) -> Int32[np.ndarray, "T"]:
        """Encode a text, without begin and end."""
        return self._up(self.tokenizer.encode(text))

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """Encode each text."""
        ids = self.tokenizer.encode_all(texts)
        return Ragged(self._up(ids.tokens), ids.offsets)

    def lengths(self, texts: Sequence[str]) -> Int64[np.ndarray, "N"]:
        """Count the tokens of each text."""
        return self.tokenizer.lengths(texts)

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> str:
        """Decode all ids; those that are not of this tokenizer become U+FFFD."""
        return self.tokenizer.decode(self._down(ids))

    def unknown_parts(self, text: str) -> set[str]:
        """Collect the parts of a text that are read as unknown."""
        return self.tokenizer.unknown_parts(text)

    @property
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """Number of bytes of UTF-8 for which each id stands; 0 for special ids and for those in between."""
        lengths = self.tokenizer.byte_lengths
        return np.concatenate([lengths[:FIRST], np.zeros(self.offset, np.int64), lengths[FIRST:]])

    def label(self, token: int) -> str:
        return self.tokenizer.label(token - self.offset)

    def _owns(self, token: int) -> bool:
        return token >= FIRST + self.offset and self.tokenizer._owns(token - self.offset)

    def _up(self, ids: Int32[np.ndarray, "T"]) -> Int32[np.ndarray, "T"]:
        return np.where(ids < FIRST, ids, ids + np.int32(self.offset))

    def _down(self, ids: Sequence[int] | Int[np.ndarray, "T"]) -> Int64[np.ndarray, "T"]:
        """Return the tokenizer's own ids; -1, which is never one, for those that it lacks."""
        ids = np.asarray(ids, np.int64)
        return np.where(ids < FIRST, ids, np.where(ids < FIRST + self.offset, -1, ids - self.offset))


@dataclasses.dataclass(frozen=True)
class TokenizerPair:
    """Tokenizers of one run; `target` is `source` itself where they are shared."""

    source: Tokenizer
    target: Tokenizer

    @classmethod
    def fit(cls, config: TokenizerConfig, sources: Iterable[str], targets: Iterable[str] = ()) -> "TokenizerPair":
        """Fit the config's tokenizers to the training texts.

        Args:
            targets: empty where a task has one text only.

        Raises:
            UserError: see `check`; a file that cannot be read as a tokenizer; shared=false without targets.
        """
        check(config)
        if config.shared:
            return cls.of(fit(config, (text for texts in (sources, targets) for text in texts)))
        targets = list(targets)
        if not targets:
            raise problem(
                "tokenizer.shared is false, but there are no targets to have a tokenizer of their own",
                do="Leave it out.",
            )
        alone = dataclasses.replace(config, shared=True, target_path=None)
        return cls.of(fit(alone, sources), fit(dataclasses.replace(alone, path=config.target_path), targets))

    @classmethod
    def of(cls, source: Tokenizer, target: Tokenizer | None = None) -> "TokenizerPair":
        """Pair one tokenizer with itself, or two, the target's ids moved behind the source's."""
        return cls(source, source if target is None else OffsetTokenizer(target, source.size - FIRST))

    @property
    def shared(self) -> bool:
        """True where source and target have one tokenizer."""
        return self.target is self.source

    @property
    def size(self) -> int:
        """Number of ids of both together, V, special tokens included."""
        return self.target.size

    @functools.cached_property
    def byte_lengths(self) -> Int64[np.ndarray, "V"]:
        """Number of bytes of UTF-8 for which each id stands; 0 for special ids."""
        lengths = self.target.byte_lengths.copy()
        lengths[: self.source.size] = self.source.byte_lengths
        return lengths

    def to_json(self) -> str:
        """Write everything that `from_json` needs; of a shared tokenizer, its own description."""
        if self.shared:
            return self.source.to_json()
        both = {"source": self.source, "target": self.target.tokenizer}
        return json.dumps({name: json.loads(tokenizer.to_json()) for name, tokenizer in both.items()})

    @classmethod
    def from_json(cls, text: str, name: Choice | None = None) -> "TokenizerPair":
        """Build the tokenizers that `to_json` described.

        Args:
            name: `tokenizer.name` of the run's config, by which one from outside is found.

        Raises:
            UserError: it is not what `to_json` writes.
        """
        parts = described(text, Fields({}, {"source": dict, "target": dict}))
        if "source" not in parts or "target" not in parts:
            return cls.of(from_json(text, name))
        return cls.of(*(from_json(json.dumps(parts[side]), name) for side in ("source", "target")))
