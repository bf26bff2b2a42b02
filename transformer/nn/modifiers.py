"""Modules of what stands between scores and weights; the mathematics is in `ops`."""

import flax.linen as nn
from jax import Array

from transformer.nn.modules import Norm, RowParameters, Vectors
from transformer.nn.positions import POSITIONS
from transformer.nn.settings import ModelSettings
from transformer.nn.user_functions import score_modifier
from transformer.ops.differential import first_lambda, learned_lambda
from transformer.ops.modifiers import Modifiers
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.weights import WEIGHTS


class OwnModifiers(nn.Module):
    """The modifiers that the config names, with a sink and a lambda of this layer's own."""

    config: ModelSettings
    sublayer: str

    @nn.compact
    def __call__(self, layer: Array | int) -> Modifiers:
        config = self.config.attention
        sink_N = subtract = function = None
        if self.sublayer == "self":
            function = score_modifier(config)
        if config.sink:
            (sink_N,) = Vectors(self.config, "sink", ("logit",), name="sink")()
        if config.differential:
            query_H, key_H = Vectors(self.config, "lambda", ("query", "key"), name="lambda")()
            subtract = learned_lambda(query_H, key_H, layer)
        weights = WEIGHTS.of(config, "weights")
        return Modifiers(config.soft_cap, function, sink_N, subtract, weights, str(config.score_modifier))


class HeadNorm(nn.Module):
    """The norm of each head's output in differential attention: RMS norm, times 1 - the first lambda."""

    config: ModelSettings

    @nn.compact
    def __call__(self, head_BTNH: Array, layer: Array | int) -> Array:
        normed = Norm(self.config, name="head_norm")(head_BTNH)
        return normed * (1.0 - first_lambda(layer)).astype(normed.dtype)


class PositionBias(nn.Module):
    """The addition of positions to the scores of a stack's self-attention, N T S or B N T S; None where there is none.

    Attributes:
        config: model settings.
        causal: True for a stack that looks back.
    """

    config: ModelSettings
    causal: bool

    @nn.compact
    def __call__(self, positions: QueryKeyPositions) -> Array | None:
        """Return the bias of these positions."""
        row = POSITIONS.of(self.config, "position")
        if row.bias is None:
            return None
        parameters = RowParameters(self.config, row.owner, row.parameters, name=row.owner)()
        return row.bias(positions, self.config, self.causal, **parameters, **row.own)
