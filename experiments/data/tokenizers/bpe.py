"""Byte-level byte pair encoding, learned from the training texts.

Text is split into words with the space before them (GPT-2's pattern), words into bytes; then the most frequent pair of
neighbours becomes one token, again and again. Sennrich et al. 2016 (arXiv:1508.07909); on bytes, Radford et al. 2019.
Pairs that occur once are not merged: such a token would have one example to learn from.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Int32
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from experiments.data.ragged import Ragged
from experiments.data.tokenizers.bytes import BYTE_OF, ByteLevel, token_bytes
from experiments.data.tokenizers.subwords import SURROGATE, Subwords, starts_with_space
from experiments.data.tokenizers.tokens import FIRST
from transformer.errors import problem

SMALLEST = FIRST + 256
"""Size of the vocabulary without any merge."""

DEFAULT_SIZE = 8_000
"""Size of the vocabulary, V, where `tokenizer.vocab_size` is not given."""


class BytePairs(Subwords, ByteLevel):
    """A byte-level BPE: every text can be written, and decodes unchanged."""

    name: ClassVar[str] = "bpe"

    def __init__(self, description: str):
        super().__init__(description)
        absent = BYTE_OF.keys() - self.library.get_vocab().keys()
        if absent:
            raise problem("a byte-level BPE lacks tokens for some bytes", got=f"{256 - len(absent)}", expected="256")

    @classmethod
    def fit(cls, texts: Iterable[str], vocab_size: int | None = None) -> "BytePairs":
        """Learn the merges of the training texts: a function of the texts alone, not of their order nor of threads.

        Args:
            vocab_size: largest V, special tokens included; 8,000 if None. It is less where no pair is left that
                occurs twice.

        Raises:
            UserError: vocab_size does not hold the special tokens and the 256 bytes.
        """
        vocab_size = DEFAULT_SIZE if vocab_size is None else vocab_size
        cls.check_size(vocab_size)
        library = Tokenizer(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = decoders.ByteLevel()
        texts = [SURROGATE.sub(" ", text) for text in texts]
        most = len(BYTE_OF) + 2 * sum(map(len, texts))  # a character has 4 bytes at most, and a merge takes 2 of them
        trainer = trainers.BpeTrainer(
            vocab_size=min(vocab_size - FIRST, most),  # the library takes memory for all of it at once
            min_frequency=2,
            initial_alphabet=sorted(BYTE_OF),
            show_progress=False,
        )
        library.train_from_iterator(texts, trainer)
        return cls(library.to_str())

    @staticmethod
    def check_size(vocab_size: int) -> None:
        """Raise a UserError for a vocabulary without room for the special tokens and the 256 bytes."""
        if vocab_size < SMALLEST:
            raise problem(
                "tokenizer.vocab_size does not hold the special tokens and the 256 bytes",
                got=vocab_size,
                expected=f"{SMALLEST} or more",
                do="Raise it, leave it out, or take tokenizer.name=characters.",
            )

    @functools.cached_property
    def space_before(self) -> bool:
        """True where a merge holds a space and what follows it."""
        return starts_with_space(self.library)

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """Encode each text, on all cores."""
        ids = super().encode_all(texts)
        broken = [i for i, text in enumerate(texts) if not text.isascii() and SURROGATE.search(text)]
        if not broken:
            return ids
        rows = list(ids)
        for i in broken:
            rows[i] = self._around_surrogates(texts[i])
        return Ragged.of(rows)

    @functools.cached_property
    def pieces(self) -> list[bytes]:
        """Bytes of ids `FIRST` and up."""
        id_of = self.library.get_vocab()
        return [token_bytes(token) for token in sorted(id_of, key=id_of.__getitem__)]

    def _around_surrogates(self, text: str) -> Int32[np.ndarray, "T"]:
        """Encode a text with lone surrogates: theirs are single bytes, the text between them is encoded as usual."""
        parts = SURROGATE.split(text)
        between = list(super().encode_all(parts[::2]))
        rows = [between[0]]
        for surrogate, row in zip(parts[1::2], between[1:], strict=True):
            rows += [self._id_of_byte[list(surrogate.encode("utf-8", "surrogatepass"))], row]
        return np.concatenate(rows)

    @functools.cached_property
    def _id_of_byte(self) -> Int32[np.ndarray, "256"]:
        ids = np.zeros(256, np.int32)
        for character, byte in BYTE_OF.items():
            ids[byte] = FIRST + self.library.token_to_id(character)
        return ids
