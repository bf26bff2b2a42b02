"""Attention whose queries, keys and values share projections.

    three projections    q = W_q x    k = W_k x    v = W_v x        Vaswani et al. 2017
    Q = K                q = k = W x               v = W_v x
    K = V                q = W_q x    k = v = W x

Positions rotate queries and keys after the projection, so with Q = K both are rotated, and with K = V the values are
not. Kitaev et al. 2020, arXiv:2001.04451, share Q and K, with keys of length 1.
"""

import dataclasses

from jax import Array

from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts.batch_norm import NormedStack
from transformer import Model
from transformer.models.config import ModelConfig, model_config
from transformer.nn.attention import Attention
from transformer.nn.modules import Linear
from transformer.nn.settings import ModelSettings
from transformer.ops.scores import Score

THREE, QUERY_KEY, KEY_VALUE = WAYS = ("three projections", "Q = K", "K = V")
SHARED: dict[str, tuple[str, ...]] = {THREE: (), QUERY_KEY: ("query", "key"), KEY_VALUE: ("key", "value")}
"""Owners that share the projection of the first of them."""


class Sharing(Attention):
    """Attention with a row of SHARED; its heads for keys and values are as many as those for queries."""

    way: str = THREE

    def setup(self) -> None:
        for owner in SHARED[self.way][:1]:  # the module's name is that of the owner, whose axes its parameters have
            setattr(self, owner, Linear(self.config, owner))

    def linear_map(self, owner: str, x: Array) -> Array:
        """Project x by the map that its owner shares, or by its own; see `Attention`."""
        shared = SHARED[self.way]
        return getattr(self, shared[0])(x) if owner in shared else super().linear_map(owner, x)


def model_of(way: str, *, heads: int, **shape: int) -> Model:
    """Build a language model of L pre-norm blocks with a row of SHARED.

    The width of its feed-forward is such that it has as many parameters as the model with three projections.
    """
    config = model_config(dict(architecture="encoder_only", num_heads=heads, position="rotary", **shape))
    missing = number_of_parameters(_build(THREE, config)) - number_of_parameters(_build(way, config))
    wider = round(missing / (config.num_layers * (2 * config.width + 1)))
    width = config.as_settings.feed_forward_width + wider
    return _build(way, dataclasses.replace(config, feed_forward_width=width))


def _build(way: str, config: ModelConfig) -> Model:
    """Build the model of a way as the config is."""

    def attention(config: ModelSettings, sublayer: str, score: Score, name: str) -> Sharing:
        return Sharing(config, sublayer, score, way, name=name)

    return Model(config, NormedStack(config, None, causal=True, attention=attention))
