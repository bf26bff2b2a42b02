"""Documents as one stream of tokens, read in windows: the packing of language modelling.

    inputs     <begin> x1 x2 .. xn  | <begin> y1 .. ym  | ...
    labels     x1      x2 .. xn <end> | y1    .. ym <end> | ...
    documents  1       1  .. 1  1     | 2     .. 2  2     | ...

A window is `context` neighbours of it. Each epoch starts the windows at another offset and takes them in another order,
so each token is a label once an epoch, but for fewer than two windows and one batch.
"""

import dataclasses

import numpy as np
from jaxtyping import Int, Int32, Int64

from experiments.data.batching import Epochs
from experiments.data.ragged import Ragged
from experiments.data.tokenizers.tokens import SpecialTokens
from transformer.errors import problem


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Input, label and document at each index of the stream.

    Attributes:
        documents: number of the document, counted from 1.
    """

    inputs: Int32[np.ndarray, "tokens"]
    labels: Int32[np.ndarray, "tokens"]
    documents: Int32[np.ndarray, "tokens"]

    @classmethod
    def of(cls, texts: Ragged) -> "Stream":
        """Join documents, one after another."""
        lengths = texts.lengths
        inputs = np.full(len(texts.tokens) + len(texts), SpecialTokens.begin, np.int32)
        labels = np.full_like(inputs, SpecialTokens.end)
        text = np.arange(len(texts.tokens)) + np.repeat(np.arange(len(texts)), lengths)
        inputs[text + 1], labels[text] = texts.tokens, texts.tokens
        return cls(inputs, labels, np.repeat(np.arange(1, len(texts) + 1, dtype=np.int32), lengths + 1))

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, starts: Int[np.ndarray, "B"], length: int) -> Int64[np.ndarray, "B T"]:
        """Return the indices of windows; those behind the end of the stream are its last index."""
        return np.minimum(starts[:, None] + np.arange(length), len(self) - 1)

    def segments(self, rows: Int[np.ndarray, "B T"]) -> Int32[np.ndarray, "B T"]:
        """Return the document of each token, counted from 1 within its window."""
        documents = self.documents[rows]
        return documents - documents[:, :1] + 1


class Windows(Epochs):
    """Order of the windows: those of batch i are a function of (seed, i).

    Args:
        length: length of the stream (tokens).
        context: length of a window (tokens).
        by_tokens: True where training.batch_tokens decided the size of a batch, which the error then names.

    Raises:
        UserError: the stream is shorter than a batch.
    """

    padding = 0.0

    def __init__(self, length: int, context: int, batch_size: int, seed: int, *, by_tokens: bool = False):
        self.context, self.batch_size, self.seed = context, batch_size, seed
        self.windows_per_epoch = max(length - context + 1, 0) // context
        self.batches_per_epoch = self.windows_per_epoch // batch_size
        if not self.batches_per_epoch:
            size = "training.batch_tokens" if by_tokens else "training.batch_size"
            raise problem(
                "the training text is shorter than one batch",
                got=f"{length:,} tokens",
                expected=f"{context * (batch_size + 1) - 1:,} or more, for {batch_size} windows of {context}",
                do=f"Take more text, or lower {size} or task.context.",
            )
        super().__init__()

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shape (windows, tokens) of every batch: one program compiles."""
        return list(self.census)

    @property
    def census(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Shape -> (the first step with such a batch, how many an epoch has)."""
        return {self.shape(0): (0, self.batches_per_epoch)}

    def shape(self, i: int) -> tuple[int, int]:
        """Return the shape of batch i."""
        return self.batch_size, self.context

    def batch(self, i: int) -> tuple[Int64[np.ndarray, "B"], int]:
        """Return the starts of the windows of batch i, and i."""
        starts, at = self.at(i, self.batches_per_epoch)
        return starts[at * self.batch_size : (at + 1) * self.batch_size], int(i)

    def epoch(self, number: int) -> Int64[np.ndarray, "windows"]:
        """Draw the starts of the windows of an epoch, in order: a function of (seed, number)."""
        rng = np.random.default_rng((self.seed, number))
        return rng.integers(self.context) + self.context * rng.permutation(self.windows_per_epoch)
