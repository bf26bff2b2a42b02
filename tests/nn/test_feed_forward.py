"""Activations of the feed-forward, each its equation in float64."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import normal
from tests.fixtures.tiny import SIZES
from transformer.models.config import ModelConfig
from transformer.nn.feed_forward import ACTIVATIONS, FeedForward
from transformer.nn.recorder import Recorder, Request


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1 + np.exp(-x))


NUMPY = {
    "relu": lambda up: np.maximum(up, 0),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "swiglu": lambda up, gate: silu(gate) * up,
    "geglu": lambda up, gate: gelu(gate) * up,
    "geglu_tanh": lambda up, gate: gelu_tanh(gate) * up,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_feed_forward_is_its_equation_in_float64(name):
    config = ModelConfig(**{**SIZES, "architecture": "decoder_only", "activation": name}).resolved()
    D, F = SIZES["width"], SIZES["feed_forward_width"]
    maps = {"up": (D, F), "gate": (D, F), "down": (F, D)}
    params = {
        owner: {"kernel": normal(i, *shape), "bias": normal(i + 9, shape[1])}
        for i, (owner, shape) in enumerate(maps.items())
        if owner != "gate" or ACTIVATIONS[name].gated
    }
    x = normal(5, 2, 3, D)
    found = FeedForward(config.as_settings).apply({"params": params}, x, Recorder(Request(), "decoder", 0))
    wide = {o: {n: np.asarray(v, np.float64) for n, v in own.items()} for o, own in params.items()}
    maps = [np.asarray(x, np.float64) @ wide[o]["kernel"] + wide[o]["bias"] for o in ("up", "gate") if o in wide]
    expected = NUMPY[name](*maps) @ wide["down"]["kernel"] + wide["down"]["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert jnp.abs(found).max() > 1
