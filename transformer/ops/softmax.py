"""Softmax over the keys that a query may see, with an answer for a query that may see none.

    weights_ts = exp(scores_ts) / (exp(sink) + sum over the allowed s of exp(scores_ts)), 0 where s is not allowed

Without a sink, its term is not there. A sum of nothing gives weights of exactly zero, not NaN.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

LOW = float(jnp.finfo(jnp.float32).min)
"""Stand-in for the score of a key that is not allowed. Forms that subtract the largest score of a row, and mask once,
take LOW / 2 for it at least, so that a row of no key has no weight."""


def masked_softmax(
    scores_BNTS: Float[Array, "B N T S"], allowed: Bool[Array, "..."] | None, sink_N: Float[Array, "N"] | None = None
) -> Float[Array, "B N T S"]:
    """Compute the softmax over the allowed keys, float32; exactly zero where not allowed, also in rows of no key.

    Rows that allow a key sum to 1, or to less with a sink: a logit of each head in the denominator. The gradient is
    finite everywhere and zero wherever the weight is masked.

    Args:
        allowed: booleans that broadcast to B N T S; None allows every key.
        sink_N: logits of the sinks.

    >>> masked_softmax(jnp.zeros((2, 4, 3, 5)), jnp.arange(5) < 2).shape
    (2, 4, 3, 5)
    """
    scores_BNTS = scores_BNTS.astype(jnp.float32)
    if allowed is None and sink_N is None:
        return jax.nn.softmax(scores_BNTS, axis=-1)
    allowed = jnp.broadcast_to(True if allowed is None else allowed, scores_BNTS.shape)
    # A finite stand-in keeps inf - inf out of the gradient; the second `where` makes the masked weights exactly zero.
    highest = jnp.maximum(jnp.max(jnp.where(allowed, scores_BNTS, LOW), axis=-1, keepdims=True), LOW)
    if sink_N is not None:
        sink_1N11 = sink_N[None, :, None, None]
        highest = jnp.maximum(highest, sink_1N11)
    shifted = jnp.where(allowed, scores_BNTS - jax.lax.stop_gradient(highest), 0.0)
    exponentials = jnp.where(allowed, jnp.exp(shifted), 0.0)
    total = jnp.sum(exponentials, axis=-1, keepdims=True)
    if sink_N is not None:
        total = total + jnp.exp(sink_1N11 - jax.lax.stop_gradient(highest))
    return exponentials / jnp.where(total == 0.0, 1.0, total)
