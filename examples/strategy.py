"""A decoding strategy of one's own: draws of tokens that are not unlikely, or the likeliest (Hewitt et al. 2022)."""

import jax
import jax.numpy as jnp

from transformer import register


class Epsilon:
    random, least = True, 0.05

    def choose(self, logits_BV, key):
        kept_BV = (jax.nn.softmax(logits_BV) >= self.least) | (logits_BV == logits_BV.max(-1, keepdims=True))
        return jax.random.categorical(key, jnp.where(kept_BV, logits_BV, -jnp.inf)).astype(jnp.int32)


register("strategy", "epsilon", Epsilon)
