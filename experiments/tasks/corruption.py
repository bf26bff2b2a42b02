"""Corruption of windows for a model that is to restore them: single tokens are hidden, or spans of them.

masked   each token is chosen with probability `rate`; 80 % of the chosen become <mask>, 10 % another token, 10 % stay
         (BERT: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, section 3.1)
span     `rate` of the tokens in spans of `mean` length; a sentinel stands for each span; the target lists them all:
         source  x1 <s0> x4 x5 <s1> <end>            target  <s0> x2 x3 <s1> x6 x7 x8 <end>
         (T5: Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.1.4). The numbers of hidden tokens and of
         spans are the same in every window of a length, so one program serves all.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from experiments.data.tokenizers.tokens import FIRST, SpecialTokens

MASKED, REPLACED = 0.8, 0.1


def mask_tokens(
    tokens_BT: Int32[np.ndarray, "B T"], rate: float, size: int, rng: np.random.Generator
) -> tuple[Int32[np.ndarray, "B T"], Float32[np.ndarray, "B T"]]:
    """Hide some tokens, never special ones; return all, with a weight of 1 at each that is to be predicted.

    Args:
        size: ids from FIRST to below it replace tokens.
    """
    chosen = (rng.random(tokens_BT.shape) < rate) & (tokens_BT >= FIRST)
    draw = rng.random(tokens_BT.shape)
    others = rng.integers(FIRST, max(size, FIRST + 1), tokens_BT.shape, dtype=np.int32)
    hidden = np.where(draw < MASKED, SpecialTokens.mask, np.where(draw < MASKED + REPLACED, others, tokens_BT))
    return np.where(chosen, hidden, tokens_BT).astype(np.int32), chosen.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Spans:
    """Corruption of windows of `length` tokens: `hidden` of them in `count` spans."""

    length: int
    hidden: int
    count: int

    @classmethod
    def of(cls, length: int, rate: float, mean: float) -> "Spans":
        """Compute the numbers: at least one token is hidden and one is left; spans have about `mean` tokens."""
        hidden = min(max(round(length * rate), 1), length - 1)
        count = min(max(round(hidden / mean), 1), hidden, length - hidden)
        return cls(length, hidden, count)

    @property
    def source_length(self) -> int:
        """Number of tokens that are left, with a sentinel for each span and the end token."""
        return self.length - self.hidden + self.count + 1

    @property
    def target_length(self) -> int:
        """Number of hidden tokens, with the sentinels and the end token."""
        return self.hidden + self.count + 1

    def draw(self, windows: int, rng: np.random.Generator) -> Bool[np.ndarray, "B window"]:
        """Draw the tokens to hide. A window starts with tokens that stay and ends with a span; spans never touch."""
        hidden = _pieces(self.hidden, self.count, windows, rng)
        left = _pieces(self.length - self.hidden, self.count, windows, rng)
        borders = np.cumsum(np.stack([left, hidden], axis=2).reshape(windows, -1), axis=1)
        return (np.arange(self.length)[None, :, None] >= borders[:, None, :]).sum(axis=2) % 2 == 1

    def corrupt(
        self, tokens: Int32[np.ndarray, "B window"], hidden: Bool[np.ndarray, "B window"], first_sentinel: int
    ) -> tuple[Int32[np.ndarray, "B S"], Int32[np.ndarray, "B T"], Int[np.ndarray, "B S"], Int[np.ndarray, "B T"]]:
        """Build source and target, and the index in the window from which each of their tokens is taken."""
        starts = hidden & ~np.pad(hidden, ((0, 0), (1, 0)))[:, :-1]
        sentinels = first_sentinel + np.cumsum(starts, axis=1) - 1
        index = np.broadcast_to(np.arange(self.length), tokens.shape)
        # Each token gives up to two, a sentinel and itself; those that are not taken are dropped row by row.
        both, both_at = np.stack([sentinels, tokens], axis=2), np.stack([index, index], axis=2)
        parts = []
        for taken in (np.stack([starts, ~hidden], axis=2), np.stack([starts, hidden], axis=2)):
            ids, at = both[taken].reshape(len(both), -1), both_at[taken].reshape(len(both), -1)
            ends = np.full((len(ids), 1), SpecialTokens.end)
            parts.append((np.hstack([ids, ends]).astype(np.int32), np.hstack([at, ends * 0 + self.length - 1])))
        (source, source_at), (target, target_at) = parts
        return source, target, source_at, target_at


def _pieces(total: int, count: int, rows: int, rng: np.random.Generator) -> Int[np.ndarray, "rows count"]:
    """Draw rows of `count` lengths of at least 1 that add up to `total`, each composition as likely as another."""
    cuts = np.argsort(rng.random((rows, total - 1)), axis=1)[:, : count - 1] + 1
    borders = np.sort(np.hstack([np.zeros((rows, 1), int), cuts, np.full((rows, 1), total)]), axis=1)
    return np.diff(borders, axis=1)
