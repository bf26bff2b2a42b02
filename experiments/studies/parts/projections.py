"""Projections around the heads: attention without them, and with an MLP after the concatenation.

no projections           each head reads its own D / N entries of the rows as they are; heads are concatenated
no output projection     queries, keys and values are projected; heads are concatenated
linear                   ... and projected: the multi-head attention of Vaswani et al. 2017
MLP                      ... and go through two layers with a ReLU between
"""

import dataclasses

from jax import Array

from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts.batch_norm import NormedStack
from transformer import Model
from transformer.models.config import ModelConfig, model_config
from transformer.nn.attention import Attention
from transformer.nn.feed_forward import FeedForward
from transformer.nn.intermediates import Request
from transformer.nn.recorder import Recorder
from transformer.ops.scores import Score

NONE, NO_OUTPUT, LINEAR, MLP = WAYS = ("no projections", "no output projection", "linear", "MLP")


class Projecting(Attention):
    """Attention with a row of WAYS for its projections; D = N H."""

    way: str = LINEAR

    def linear_map(self, owner: str, x: Array) -> Array:
        """Project x as the way does; see `Attention`."""
        config, flat = self.config, x.reshape(*x.shape[:2], -1)
        if owner != "output" and self.way == NONE:
            return x.reshape(*x.shape[:2], -1, config.head_width)
        if owner == "output" and self.way in (NONE, NO_OUTPUT):
            return flat
        if owner == "output" and self.way == MLP:
            own = dataclasses.replace(config, feed_forward_width=config.width)
            return FeedForward(own, name="after")(flat, Recorder(Request(), "decoder", 0))
        return super().linear_map(owner, x)


def model_of(way: str, *, heads: int, **shape: int) -> Model:
    """Build a language model of L pre-norm blocks with a row of WAYS.

    The width of its feed-forward is such that it has as many parameters as the model with the linear way.
    """
    config = model_config(dict(architecture="encoder_only", num_heads=heads, position="rotary", **shape))
    missing = number_of_parameters(_build(LINEAR, config)) - number_of_parameters(_build(way, config))
    wider = round(missing / (config.num_layers * (2 * config.width + 1)))
    return _build(way, dataclasses.replace(config, feed_forward_width=config.feed_forward_width + wider))


def _build(way: str, config: ModelConfig) -> Model:
    """Build the model of a way as the config is."""

    def attention(config: ModelConfig, sublayer: str, score: Score, name: str) -> Projecting:
        return Projecting(config, sublayer, score, way, name=name)

    return Model(config, NormedStack(config, None, causal=True, attention=attention))
