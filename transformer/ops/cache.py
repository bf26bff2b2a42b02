"""Caches of the keys and values of earlier positions: arrays in, arrays out."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int


def empty(batch: int, length: int, heads: int, width: int, dtype: DTypeLike) -> dict[str, Array]:
    """Return a cache of `length` rows: `key` and `value`, each B S K H, zero.

    >>> empty(2, 5, 4, 8, jnp.float32)["key"].shape
    (2, 5, 4, 8)
    """
    shape = (batch, length, heads, width)
    return {"key": jnp.zeros(shape, dtype), "value": jnp.zeros(shape, dtype)}


def write(
    cached_BSKH: Float[Array, "B S K H"], new_BTKH: Float[Array, "B T K H"], index_B: Int[Array, "B"]
) -> Float[Array, "B S K H"]:
    """Write `new` into the rows index_B .. index_B + T - 1 of a cache, each example at its own index.

    >>> write(jnp.zeros((2, 5, 4, 8)), jnp.ones((2, 1, 4, 8)), jnp.array([0, 3])).shape
    (2, 5, 4, 8)
    """

    def one(cached_SKH: Array, new_TKH: Array, index: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(cached_SKH, new_TKH.astype(cached_SKH.dtype), index, axis=0)

    return jax.vmap(one)(cached_BSKH, new_BTKH, index_B)
