"""The cases whose generation is timed: sizes of models, numbers of examples and of tokens."""

import dataclasses
from collections.abc import Mapping

import numpy as np

Sizes = Mapping[str, int]
"""Sizes of a model: vocab_size, width, num_heads, num_layers, feed_forward_width, max_length."""

GPT2 = dict(vocab_size=50257, width=768, num_heads=12, num_layers=12, feed_forward_width=3072, max_length=1024)
MARIAN = dict(vocab_size=32000, width=512, num_heads=8, num_layers=6, feed_forward_width=2048, max_length=512)


@dataclasses.dataclass(frozen=True)
class Case:
    """Answers that are timed.

    Attributes:
        model: "gpt2" or "marian".
        sizes: of the model.
        batch: B, number of examples.
        read: number of tokens of each prompt, or of each source.
        steps: number of new tokens of each answer.
        width: hypotheses of a beam; 1: greedy.
    """

    model: str
    sizes: Sizes
    batch: int
    read: int
    steps: int
    width: int = 1

    def __str__(self) -> str:
        strategy = "greedy" if self.width == 1 else f"beam {self.width}"
        return f"{self.model}, {strategy}, batch {self.batch}, {self.read} tokens read, {self.steps} written"

    def tokens(self) -> np.ndarray:
        """Draw the prompts or the sources, B x `read`."""
        drawn = np.random.default_rng(0).integers(2, self.sizes["vocab_size"] - 1, (self.batch, self.read))
        return drawn.astype(np.int32)


CASES = (
    Case("gpt2", GPT2, batch=1, read=16, steps=64),
    Case("gpt2", GPT2, batch=8, read=16, steps=64),
    Case("marian", MARIAN, batch=16, read=24, steps=32),
    Case("marian", MARIAN, batch=16, read=24, steps=32, width=4),
)
