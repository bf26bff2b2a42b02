"""A position encoding of one's own: KERPLE (Chi et al. 2022), a learned bias -r1 log(1 + r2 |t - s|)."""

import jax
import jax.numpy as jnp

from transformer import build, register
from transformer.nn.positions import Position
from transformer.tables import Parameter


def bias(positions, config, causal, r1, r2):
    r1, r2 = (jax.nn.softplus(r)[:, None, None] for r in (r1, r2))
    return -r1 * jnp.log1p(r2 * jnp.abs(positions.distances[..., None, :, :]))


register("position", "kerple", Position(bias=bias, parameters={"r1": Parameter("N", 1.0), "r2": Parameter("N", 1.0)}))
model = build(architecture="decoder_only", vocab_size=11, position="kerple")
print(model)
