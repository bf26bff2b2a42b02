"""Positions in a model: added to the embeddings, as rotations of queries and keys, or as a bias on self-attention."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array

from transformer.errors import path_of, problem
from transformer.nn.settings import ModelSettings
from transformer.ops.linear import embed
from transformer.ops.positions import QueryKeyPositions, alibi, relative, rotary, sinusoidal
from transformer.ops.rotary_scaling import (
    LinearScaling,
    Llama3Scaling,
    YarnScaling,
    rotary_linear,
    rotary_llama3,
    rotary_yarn,
)
from transformer.tables import Parameter, Row, Table


@dataclasses.dataclass(frozen=True, eq=False)
class Position(Row):
    """A row of POSITIONS: one or several functions, each of which also takes `settings` where the row has any.

    Attributes:
        adds: (positions T or B T, config, **parameters) -> the addition to the embeddings, T D or B T D.
        rotates: (x_BTNH, positions T or B T, base) -> x_BTNH, of the queries and of the keys of self-attention; the
            base is that of the layer with model.rotary_scale.
        bias: (positions, config, causal, **parameters) -> the addition to the scores of self-attention, N T S or
            B N T S; the positions are a `transformer.ops.positions.QueryKeyPositions`, and `causal` is True in a stack
            that looks back.
        parameters: name -> axes and initial values, of `adds` (each embedding has its own) or of `bias` (each stack has
            its own, which its layers share).
        owner: name under which the parameters stand in the model's.
        pairs: True for `rotates` that takes entries in pairs, so that the width is even.
    """

    adds: Callable[..., Array] | None = None
    rotates: Callable[..., Array] | None = None
    bias: Callable[..., Array] | None = None
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)
    owner: str = "position"
    pairs: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parameters and (self.adds is None) == (self.bias is None):
            has = [name for name in ("adds", "rotates", "bias") if getattr(self, name) is not None]
            raise problem(
                "a position's parameters belong to one of two functions",
                got=f"parameters {', '.join(self.parameters)}, and {' and '.join(has) or 'no function'}",
                expected="adds or bias",
            )

    @property
    def name(self) -> str:
        """The first function's own name with its module, for errors."""
        functions = (self.adds, self.rotates, self.bias)
        return next((path_of(function) for function in functions if function is not None), "none")

    @property
    def is_bounded(self) -> bool:
        """True where a parameter has a row for each position, so that a sequence has model.max_length at most."""
        return any("P" in row.axes.replace(",", " ").split() for row in self.parameters.values())

    @property
    def has_buckets(self) -> bool:
        """True where a parameter has an entry for each bucket of distances."""
        return any("M" in row.axes.split() for row in self.parameters.values())


def _sinusoidal(positions: Array, config: ModelSettings) -> Array:
    return sinusoidal(positions, config.width)


def _learned(positions: Array, config: ModelSettings, table: Array) -> Array:
    return embed(positions, table, config.compute_dtype)


def _alibi(positions: QueryKeyPositions, config: ModelSettings, causal: bool) -> Array:
    return alibi(positions, config.num_heads)


def _relative(positions: QueryKeyPositions, config: ModelSettings, causal: bool, table: Array) -> Array:
    return relative(positions, table, config.relative.max_distance, causal=causal)


ROWS: dict[str, Position] = {
    "none": Position(),
    "sinusoidal": Position(adds=_sinusoidal),
    "learned": Position(adds=_learned, parameters={"table": Parameter("P, D")}, owner="positions"),
    "rotary": Position(rotates=rotary, pairs=True),
    "rotary_linear": Position(rotates=rotary_linear, pairs=True, settings=LinearScaling),
    "rotary_llama3": Position(rotates=rotary_llama3, pairs=True, settings=Llama3Scaling),
    "rotary_yarn": Position(rotates=rotary_yarn, pairs=True, settings=YarnScaling),
    "alibi": Position(bias=_alibi),
    "relative": Position(bias=_relative, parameters={"table": Parameter("N M")}, owner="relative"),
}

POSITIONS = Table("position", Position, ROWS)


def positions_of(length: int, segments_BT: Array | None) -> Array:
    """Return 0 .. T - 1, or B T counted from 0 again at the start of each packed segment."""
    index_T = jnp.arange(length, dtype=jnp.int32)
    if segments_BT is None:
        return index_T
    starts_BT = jnp.concatenate(
        [jnp.ones_like(segments_BT[:, :1], bool), segments_BT[:, 1:] != segments_BT[:, :-1]], axis=1
    )
    return index_T[None] - jax.lax.cummax(jnp.where(starts_BT, index_T[None], 0), axis=1)
