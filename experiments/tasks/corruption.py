"""What is hidden from a model that is to guess it: single tokens, or spans of them.

masked   each token is chosen with probability `rate`; 80 % of the chosen become <mask>, 10 % another token, 10 % stay
         (BERT: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, section 3.1)
span     `rate` of the tokens in spans of `mean` length; a sentinel stands for each span, and the target says them all:
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
    """The tokens with some hidden, and a weight of 1 where one is to be guessed; special tokens are never hidden.

    Args:
        size: ids from FIRST to below it replace tokens.
    """
    chosen = (rng.random(tokens_BT.shape) < rate) & (tokens_BT >= FIRST)
    how = rng.random(tokens_BT.shape)
    others = rng.integers(FIRST, max(size, FIRST + 1), tokens_BT.shape, dtype=np.int32)
    hidden = np.where(how < MASKED, SpecialTokens.mask, np.where(how < MASKED + REPLACED, others, tokens_BT))
    return np.where(chosen, hidden, tokens_BT).astype(np.int32), chosen.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Spans:
    """How windows of `length` tokens are corrupted: `hidden` tokens in `count` spans."""

    length: int
    hidden: int
    count: int

    @classmethod
    def of(cls, length: int, rate: float, mean: float) -> "Spans":
        """At least one token is hidden and one is left; as many spans as the mean length says, one at least."""
        hidden = min(max(round(length * rate), 1), length - 1)
        count = min(max(round(hidden / mean), 1), hidden, length - hidden)
        return cls(length, hidden, count)

    @property
    def source_length(self) -> int:
        """What is left, a sentinel for each span, and the end token."""
        return self.length - self.hidden + self.count + 1

    @property
    def target_length(self) -> int:
        """The sentinels, what is hidden, and the end token."""
        return self.hidden + self.count + 1

    def draw(self, windows: int, rng: np.random.Generator) -> Bool[np.ndarray, "B T"]:
        """Which tokens are hidden. A window starts with what is left and ends with a span; spans never touch."""
        hidden = _pieces(self.hidden, self.count, windows, rng)
        left = _pieces(self.length - self.hidden, self.count, windows, rng)
        borders = np.cumsum(np.stack([left, hidden], axis=2).reshape(windows, -1), axis=1)
        return (np.arange(self.length)[None, :, None] >= borders[:, None, :]).sum(axis=2) % 2 == 1

    def corrupt(
        self, tokens_BT: Int32[np.ndarray, "B T"], hidden_BT: Bool[np.ndarray, "B T"], first_sentinel: int
    ) -> tuple[Int32[np.ndarray, "B S"], Int32[np.ndarray, "B M"], Int[np.ndarray, "B S"], Int[np.ndarray, "B M"]]:
        """Source and target, and the place in the window from which each of their tokens is."""
        starts_BT = hidden_BT & ~np.pad(hidden_BT, ((0, 0), (1, 0)))[:, :-1]
        sentinel_BT = first_sentinel + np.cumsum(starts_BT, axis=1) - 1
        place_BT = np.broadcast_to(np.arange(self.length), tokens_BT.shape)
        # Each place gives up to two tokens, a sentinel and itself; those not wanted are dropped row by row.
        tokens = np.stack([sentinel_BT, tokens_BT], axis=2)
        places = np.stack([place_BT, place_BT], axis=2)
        sides = []
        for wanted in (np.stack([starts_BT, ~hidden_BT], axis=2), np.stack([starts_BT, hidden_BT], axis=2)):
            ids, at = tokens[wanted].reshape(len(tokens), -1), places[wanted].reshape(len(tokens), -1)
            ends = np.full((len(ids), 1), SpecialTokens.end)
            sides.append((np.hstack([ids, ends]).astype(np.int32), np.hstack([at, ends * 0 + self.length - 1])))
        (source, source_at), (target, target_at) = sides
        return source, target, source_at, target_at


def _pieces(total: int, count: int, rows: int, rng: np.random.Generator) -> Int[np.ndarray, "B K"]:
    """Rows of `count` lengths of at least 1 that add up to `total`, each composition as likely as another."""
    cuts = np.argsort(rng.random((rows, total - 1)), axis=1)[:, : count - 1] + 1
    borders = np.sort(np.hstack([np.zeros((rows, 1), int), cuts, np.full((rows, 1), total)]), axis=1)
    return np.diff(borders, axis=1)
