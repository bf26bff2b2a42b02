"""Weights of one's own in the place of softmax: the square of the positive scores, divided by their sum."""

import jax.numpy as jnp

from transformer import build


def squares(scores_BNTS, allowed_BNTS):
    positive = jnp.where(allowed_BNTS, jnp.maximum(scores_BNTS, 0.0), 0.0) ** 2
    return positive / (positive.sum(-1, keepdims=True) + 1.0)


print(build(architecture="decoder_only", vocab_size=11, attention={"weights": squares}))
