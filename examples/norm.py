"""A norm of one's own: the tanh of a learned multiple in the place of a norm (DyT, Zhu et al. 2025)."""

import jax.numpy as jnp

from transformer import build
from transformer.ops.norms import Norm


def dynamic_tanh(x, scale, bias=0.0, *, epsilon):
    return scale * jnp.tanh(0.5 * x) + bias


print(build(architecture="decoder_only", vocab_size=11, norm=Norm(dynamic_tanh, {"scale": 1.0, "bias": 0.0})))
