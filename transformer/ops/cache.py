"""Caches of the keys and values of earlier positions: arrays in, arrays out.

Where no query sees further back than a window, a cache has as many rows as the window, and is a ring: the token at
index i stands in row i modulo their number, in the place of one that is no longer seen.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int


def empty(batch: int, length: int, heads: int, width: int, dtype: DTypeLike) -> dict[str, Array]:
    """Return a cache of `length` rows: `key` and `value`, each B K S H, zero.

    >>> empty(2, 5, 4, 8, jnp.float32)["key"].shape
    (2, 4, 5, 8)
    """
    shape = (batch, heads, length, width)
    return {"key": jnp.zeros(shape, dtype), "value": jnp.zeros(shape, dtype)}


def write(
    cached_BKSH: Float[Array, "B K S H"], new_BTKH: Float[Array, "B T K H"], index_B: Int[Array, "B"]
) -> Float[Array, "B K S H"]:
    """Write `new` into the rows index_B .. index_B + T - 1 of a cache, each example at its own index.

    >>> write(jnp.zeros((2, 4, 5, 8)), jnp.ones((2, 1, 4, 8)), jnp.array([0, 3])).shape
    (2, 4, 5, 8)
    """

    def one(cached_KSH: Array, new_KTH: Array, index: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(cached_KSH, new_KTH.astype(cached_KSH.dtype), index, axis=1)

    return jax.vmap(one)(cached_BKSH, jnp.swapaxes(new_BTKH, 1, 2), index_B)


def ring_index(index_B: Int[Array, "B"], rows: int) -> Int[Array, "B S"]:
    """Return the index of the token in each row of a ring, once the token at `index_B` is written; negative: none.

    >>> ring_index(jnp.array([1, 5]), 3).tolist()
    [[0, 1, -1], [3, 4, 5]]
    """
    row_S = jnp.arange(rows, dtype=index_B.dtype)
    return index_B[:, None] - (index_B[:, None] - row_S) % rows


def ring_of(new_BTKH: Float[Array, "B T K H"], lengths_B: Int[Array, "B"], rows: int) -> Float[Array, "B K S H"]:
    """Return the ring that holds the last tokens of each example; what stands in rows without a token is not read.

    >>> ring_of(jnp.arange(4.0).reshape(1, 4, 1, 1), jnp.array([4]), 3).ravel().tolist()
    [3.0, 1.0, 2.0]
    """
    index_BS = ring_index(lengths_B - 1, rows)
    last_BSKH = jnp.take_along_axis(new_BTKH, index_BS[:, :, None, None], axis=1, mode="clip")
    return jnp.swapaxes(last_BSKH, 1, 2)
