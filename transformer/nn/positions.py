"""Positions in a model: added to the embeddings, as rotations of queries and keys, or as a bias on self-attention."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.nn.modules import Table
from transformer.nn.settings import ModelSettings
from transformer.ops.positions import QueryKeyPositions, alibi, relative


@dataclasses.dataclass(frozen=True)
class Position:
    """A row of POSITIONS.

    Attributes:
        adds: the addition to the embeddings: "table", "code" or None.
        rotates: True where queries and keys are rotated.
        bias: (positions, config, causal, table) -> the addition to the scores of self-attention, ... N T S; `table()`
            makes the learned table, N M.
        learns: True where the bias has a table of the stack's own, shared by its layers.
    """

    adds: str | None = None
    rotates: bool = False
    bias: Callable[[QueryKeyPositions, ModelSettings, bool, Callable[[], Array]], Array] | None = None
    learns: bool = False


def _alibi(positions: QueryKeyPositions, config: ModelSettings, causal: bool, table: Callable[[], Array]) -> Array:
    return alibi(positions, config.num_heads)


def _relative(positions: QueryKeyPositions, config: ModelSettings, causal: bool, table: Callable[[], Array]) -> Array:
    return relative(positions, table(), config.relative.max_distance, causal=causal)


POSITIONS = {
    "none": Position(),
    "sinusoidal": Position(adds="code"),
    "learned": Position(adds="table"),
    "rotary": Position(rotates=True),
    "alibi": Position(bias=_alibi),
    "relative": Position(bias=_relative, learns=True),
}


def positions_of(length: int, segments_BT: Array | None) -> Array:
    """Return 0 .. T - 1, or B T counted from 0 again at the start of each packed segment."""
    index_T = jnp.arange(length, dtype=jnp.int32)
    if segments_BT is None:
        return index_T
    starts_BT = jnp.concatenate(
        [jnp.ones_like(segments_BT[:, :1], bool), segments_BT[:, 1:] != segments_BT[:, :-1]], axis=1
    )
    return index_T[None] - jax.lax.cummax(jnp.where(starts_BT, index_T[None], 0), axis=1)


class PositionBias(nn.Module):
    """The addition of positions to the scores of a stack's self-attention, N T S or B N T S; None where there is none.

    Attributes:
        config: model settings.
        causal: True for a stack that looks back, so that all buckets of distances are for the keys before a query.
    """

    config: ModelSettings
    causal: bool

    @nn.compact
    def __call__(self, positions: QueryKeyPositions) -> Array | None:
        """Return the bias of these positions."""
        row = POSITIONS[self.config.position]
        if row.bias is None:
            return None
        return row.bias(positions, self.config, self.causal, self.table)

    def table(self) -> Array:
        """Make the table of the buckets' biases, N M."""
        return Table(self.config, "relative", name="relative")()
