"""The tokens of a sequence as a recurrence reads them: one by one, each in its segment, padding in none.

A mask is a description (see `ops.masks`). Its order, lengths and segments can be followed from token to token with a
state of constant size; a window, booleans and functions of indices cannot.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from transformer.errors import problem
from transformer.ops.mask_rules import Causal, Padding, Prefix, Segments
from transformer.ops.masks import Mask


class Sequence(NamedTuple):
    """The segments of a sequence's tokens.

    Attributes:
        segments_BT: number of the segment that each token belongs to; 0: padding. The tokens of a segment stand side
            by side.
        prefix_B: number of tokens at the beginning of a row that all of its tokens may see; None: there is no prefix.
    """

    segments_BT: Int[Array, "B T"]
    prefix_B: Int[Array, "B"] | None = None

    @property
    def real(self) -> Bool[Array, "B T"]:
        """True for tokens that are no padding, B T."""
        return self.segments_BT != 0

    @property
    def begins(self) -> Bool[Array, "B T"]:
        """True for tokens of another segment than the last token before them that is no padding, B T.

        False for the first of a row: what a recurrence holds before it is empty, or in a cache.
        """
        index_BT = jnp.where(self.real, jax.lax.iota(jnp.int32, self.segments_BT.shape[1])[None], -1)
        last_BT = jax.lax.cummax(jnp.pad(index_BT, ((0, 0), (1, 0)), constant_values=-1)[:, :-1], axis=1)
        before_BT = jnp.take_along_axis(self.segments_BT, jnp.maximum(last_BT, 0), axis=1)
        return self.real & (last_BT >= 0) & (self.segments_BT != before_BT)


def sequence_of(mask: Mask, batch: int, length: int) -> Sequence:
    """Return the tokens of a sequence as the mask of its self-attention describes them.

    Args:
        batch, length: B and T.

    Raises:
        UserError: a mask with other rules than order, lengths and segments.

    >>> from transformer.ops import masks
    >>> sequence_of(masks.causal() & masks.padding(jnp.array([3, 1])), 2, 3).segments_BT.tolist()
    [[1, 1, 1], [1, 0, 0]]
    """
    segments_BT, prefix_B = jnp.ones((batch, length), jnp.int32), None
    real_BT = jnp.ones((batch, length), bool)
    for rule in mask.rules:
        if isinstance(rule, Padding):
            real_BT &= jax.lax.iota(jnp.int32, length)[None] < rule.lengths_B[:, None]
        elif isinstance(rule, Segments):
            segments_BT = rule.key_BS
        elif isinstance(rule, Prefix):
            prefix_B = rule.lengths_B
        elif not isinstance(rule, Causal):
            raise problem(
                "a recurrence cannot follow this mask",
                got=f"a rule {type(rule).__name__}",
                expected="order, lengths and segments",
            )
    return Sequence(jnp.where(real_BT, segments_BT, 0), prefix_B)
