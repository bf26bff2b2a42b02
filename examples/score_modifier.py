"""A score modifier of one's own: scores fall with the logarithm of the distance."""

import jax.numpy as jnp

from transformer import build


def nearer(scores_BNTS, query_positions, key_positions):
    return scores_BNTS - jnp.log1p(jnp.abs(query_positions - key_positions))


print(build(architecture="decoder_only", vocab_size=11, attention={"score_modifier": nearer}))
