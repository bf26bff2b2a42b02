"""Caches of the keys and values of earlier positions: arrays in, arrays out."""

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
