"""Differential attention: weights that are a difference of two maps, so that what both attend to cancels.

    weights = softmax(s1) - lambda softmax(s2)
    lambda  = exp(q1 . k1) - exp(q2 . k2) + first(layer)
    first   = 0.8 - 0.6 exp(-0.3 layer), layer = 0, 1, ...
    head    = (1 - first) rms_norm(weights v)

with another row of `ops.weights.WEIGHTS` in place of softmax where a model has one.

Ye et al. 2024, https://arxiv.org/abs/2410.05258; q1, k1, q2, k2 are learned vectors of a layer (their lambda_q1 ...).
The first halves of a head's query and key give the scores s1, the second halves s2; the value is as wide as both. So a
head of width H here is one of theirs with d = H / 2, and the projections' shapes stay as they are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def two_maps(
    function: Callable[[Array, Array], Array],
    query_BTNH: Float[Array, "B T N H"],
    key_BSKH: Float[Array, "B S K H"],
) -> Float[Array, "B 2*N T S"]:
    """Compute the scores of the first halves of all heads, then those of the second halves: two maps for each head.

    Args:
        function: (halves of queries B T N H/2, halves of keys B S K H/2) -> scores B N T S.

    >>> from transformer.ops.scores import dot
    >>> two_maps(dot, jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8))).shape
    (2, 8, 3, 5)
    """
    halves = [x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2) for x in (query_BTNH, key_BSKH)]
    scores_B2NTS = jax.vmap(function, in_axes=3, out_axes=1)(*halves)
    B, _, N, T, S = scores_B2NTS.shape
    return scores_B2NTS.reshape(B, 2 * N, T, S)


def subtract_maps(
    function: Callable[[Array], Array], scores: Float[Array, "B maps T S"], subtract: Float[Array, ""]
) -> Float[Array, "B N T S"]:
    """Compute the weights of the first maps minus lambda times those of the second.

    Args:
        function: scores B N T S -> weights B N T S.
        scores: those of `two_maps`, 2 N maps.
        subtract: lambda.

    >>> subtract_maps(jax.nn.softmax, jnp.zeros((2, 8, 3, 5)), jnp.array(0.2)).shape
    (2, 4, 3, 5)
    """
    B, maps, T, S = scores.shape
    weights_B2NTS = jax.vmap(function, in_axes=1, out_axes=1)(scores.reshape(B, 2, maps // 2, T, S))
    return weights_B2NTS[:, 0] - subtract * weights_B2NTS[:, 1]


def first_lambda(layer: Array | int) -> Float[Array, ""]:
    """Compute the value near which lambda starts in layer 0, 1, ...: 0.8 - 0.6 exp(-0.3 layer).

    >>> first_lambda(0).shape
    ()
    """
    return 0.8 - 0.6 * jnp.exp(-0.3 * jnp.asarray(layer, jnp.float32))


def learned_lambda(query_H: Float[Array, "H"], key_H: Float[Array, "H"], layer: Array | int) -> Float[Array, ""]:
    """Compute exp(q1 . k1) - exp(q2 . k2) + the layer's first lambda; q1 and q2 are the halves of `query_H`.

    >>> learned_lambda(jnp.zeros(8), jnp.zeros(8), layer=0).shape
    ()
    """
    first, second = jnp.exp(jnp.sum((query_H * key_H).reshape(2, -1), axis=-1))
    return first - second + first_lambda(layer)
