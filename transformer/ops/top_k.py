"""The k largest of many numbers, in two steps: the chunks that hold them, then these chunks alone."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

CHUNK = 128
"""Numbers whose largest one is found first."""


def top_k(x_BC: Float[Array, "B C"], k: int) -> tuple[Float[Array, "B k"], Int[Array, "B k"]]:
    """Return the k largest of each row, in descending order, and their indices; the first of equals first.

    The same as `jax.lax.top_k` for numbers without NaN. Each of the k largest stands in one of the k chunks with the
    largest maxima. The array is read once, and in the order in which it lies, also where that is the order of C B, as
    it is of the logits of `ops.linear.Kernel`.

    >>> top_k(jnp.array([[3.0, 1.0, 2.0, 3.0]]), 3)[1].tolist()
    [[0, 3, 2]]
    """
    B, C = x_BC.shape
    chunks = math.ceil(C / CHUNK)
    if chunks <= 2 * k:
        value_Bk, index_Bk = jax.lax.top_k(x_BC, k)
        return value_Bk, index_Bk
    padded_CB = jnp.pad(x_BC.T, [(0, chunks * CHUNK - C), (0, 0)], constant_values=-jnp.inf)
    largest_MB = jnp.max(padded_CB.reshape(chunks, CHUNK, B), axis=1)
    _, chosen_Bk = jax.lax.top_k(largest_MB.T, k)
    chosen_Bk = jnp.sort(chosen_Bk, axis=-1)  # so that of equals the first one is found first
    index_BN = (chosen_Bk[..., None] * CHUNK + jnp.arange(CHUNK, dtype=jnp.int32)[None, None]).reshape(B, k * CHUNK)
    left_BN = jnp.take_along_axis(x_BC.T, index_BN.T, axis=0, mode="clip").T
    value_Bk, place_Bk = jax.lax.top_k(jnp.where(index_BN < C, left_BN, -jnp.inf), k)
    return value_Bk, jnp.take_along_axis(index_BN, place_Bk, axis=1, mode="clip")
