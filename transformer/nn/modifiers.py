"""Modules of the modifiers between scores and weights; the mathematics is in `ops.modifiers`."""

import flax.linen as nn
from jax import Array

from transformer.nn.modules import Norm, Vectors
from transformer.nn.settings import ModelSettings
from transformer.nn.user_functions import score_modifier
from transformer.ops.differential import first_lambda, learned_lambda
from transformer.ops.modifiers import Modifiers


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
        return Modifiers(config.soft_cap, function, sink_N, subtract, str(config.score_modifier))


class HeadNorm(nn.Module):
    """The norm of each head's output in differential attention: RMS norm, times 1 - the first lambda."""

    config: ModelSettings

    @nn.compact
    def __call__(self, head_BTNH: Array, layer: Array | int) -> Array:
        normed = Norm(self.config, row="rms", name="head_norm")(head_BTNH)
        return normed * (1.0 - first_lambda(layer)).astype(normed.dtype)
