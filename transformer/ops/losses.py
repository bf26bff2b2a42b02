"""Losses over tokens, as sums with their weights, so that batches and accumulated parts combine exactly.

cross entropy   -log p(label);  with smoothing e:  (1 - e) (-log p(label)) + e mean over V of (-log p(v))
                Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Integer

from transformer.ops.integers import as_int32


def cross_entropy(
    logits_BTV: Float[Array, "*outer V"],
    labels_BT: Integer[Array, "*outer"],
    smoothing: "float | Float[Array, ''] | None" = None,
) -> Float[Array, "*outer"]:
    """Compute the cross entropy of each token (nats), float32.

    Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7, for the smoothing.

    Args:
        labels_BT: from 0 to below V; any other label has NaN.
        smoothing: share of the target that is spread over the vocabulary, may be traced; None: no smoothing.

    >>> cross_entropy(jnp.zeros((2, 5, 7)), jnp.zeros((2, 5), int)).shape
    (2, 5)
    """
    logits_BTV = logits_BTV.astype(jnp.float32)
    normaliser = jax.nn.logsumexp(logits_BTV, axis=-1)
    index_BT = as_int32(labels_BT)
    index_BT = jnp.where(index_BT < 0, logits_BTV.shape[-1], index_BT)  # -1 is no label, and not the last one
    label_logit = jnp.take_along_axis(logits_BTV, index_BT[..., None], axis=-1, mode="fill")[..., 0]
    loss = normaliser - label_logit
    if smoothing is None:
        return loss
    return (1.0 - smoothing) * loss + smoothing * (normaliser - jnp.mean(logits_BTV, axis=-1))


def weighted_sum(
    values: Float[Array, "*outer"], weights: Float[Array, "*outer"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return (sum of weight x value, sum of weights); entries of weight 0 add exactly nothing, whatever their value.

    >>> weighted_sum(jnp.ones((2, 5)), jnp.ones((2, 5)))[0].shape
    ()
    """
    kept = jnp.where(weights != 0, values, 0.0)
    return jnp.sum(kept * weights), jnp.sum(weights)
