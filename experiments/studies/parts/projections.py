"""Projections around the heads: attention without them, and with an MLP after the concatenation.

    no projections           each head reads its own D / N entries of the rows as they are; heads are concatenated
    no output projection     queries, keys and values are projected; heads are concatenated
    linear                   ... and projected: the multi-head attention of Vaswani et al. 2017
    MLP                      ... and go through two layers with a ReLU between

N heads of H entries, concatenated, are compared with one head of N H entries, for the same queries, keys and values.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.studies.frame.claim import DIFFERS, HOLDS, Claim, Numbers, above_zero, judge_cases, spread
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts.batch_norm import NormedStack
from transformer import Model
from transformer.models.config import ModelConfig, model_config
from transformer.nn.attention import Attention
from transformer.nn.feed_forward import FeedForward
from transformer.nn.intermediates import Request
from transformer.nn.recorder import Recorder
from transformer.ops.attend import attention_weights
from transformer.ops.scores import Score
from transformer.ops.scoring import mix

NONE, NO_OUTPUT, LINEAR, MLP = WAYS = ("no projections", "no output projection", "linear", "MLP")
SAME = 1e-5
"""Largest relative difference at which values count as equal."""


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


def concatenated(keys_R: Array, heads: int, head_width: int, length: int = 32) -> Mapping[str, np.ndarray]:
    """Compare N heads, concatenated, with one head of N H: largest difference / largest entry of each seed.

    `own`: each head has its own weights. `alike`: all heads have the weights of the wide one.
    """

    def one(key: Array) -> dict[str, Array]:
        query, keys, value = jax.random.normal(key, (3, 1, length, heads, head_width), jnp.float32)

        def wide(x: Array) -> Array:
            return x.reshape(1, length, 1, heads * head_width)

        def difference(x: Array) -> Array:
            return jnp.max(jnp.abs(x.reshape(expected.shape) - expected)) / jnp.max(jnp.abs(expected))

        weights_BTS = attention_weights(wide(query), wide(keys))
        expected = mix(weights_BTS, wide(value)).reshape(1, length, -1)
        alike = jnp.broadcast_to(weights_BTS, (1, heads, length, length))
        found = {"own": mix(attention_weights(query, keys), value), "alike": mix(alike, value)}
        return jax.tree.map(difference, found)

    return jax.device_get(jax.vmap(one)(keys_R))


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on concatenated heads and on the loss of each way."""
    differences = {name: np.asarray(x, float) for name, x in numbers["concatenated"].items()}
    heads, width = numbers["concatenated_heads"]
    cases = {"each head has its own weights": "own", "all heads weigh alike": "alike"}
    same = Claim(
        said=f"{heads} heads of {width} concatenated equal one head of {heads * width}",
        **judge_cases({case: bool(differences[name].max() < SAME) for case, name in cases.items()}),
        criterion=f"the same queries, keys and values: largest difference / largest entry below {SAME:g}, of every "
        "seed; the shape is the same in any case",
        measured="; ".join(f"{case}: {differences[name].max():.2g}" for case, name in cases.items()),
        instead="The shape is the same, the values are not: each head has its own softmax, a wide head has one "
        "for all entries.",
        seeds=len(differences["own"]),
    )
    loss = {way: np.asarray(row["loss_R"], float) for way, row in numbers["ways"].items()}
    sizes = {way: row["parameters"] for way, row in numbers["ways"].items()}
    losses = "; ".join(f"{way} {spread(x)} ({sizes[way]:,} parameters)" for way, x in loss.items())
    worse = {way: above_zero(x - loss[LINEAR]) for way, x in loss.items()}
    less = Claim(
        said="Multi-head attention needs its projections",
        **judge_cases({"all are taken away": worse[NONE], "the output's is taken away": worse[NO_OUTPUT]}),
        criterion="held-out loss without is above that of the linear ones by more than the interval, at equal "
        "parameters, each at its better rate",
        measured=f"nats per byte: {losses}",
        instead="The feed-forward after it, which has a norm before it, combines the entries of the heads too.",
        seeds=len(loss[LINEAR]),
    )
    more = Claim(
        said="An MLP after the concatenation is better than a linear map",
        found=HOLDS if above_zero(loss[LINEAR] - loss[MLP]) else DIFFERS,
        criterion="held-out loss is below that of the linear one by more than the interval, at equal parameters, each "
        "at its better rate",
        measured=f"nats per byte, MLP - linear: {spread(loss[MLP] - loss[LINEAR], signed=True)}",
        instead="The feed-forward of the block, with its own residual, comes directly after it.",
        seeds=len(loss[LINEAR]),
    )
    return [same, less, more]
