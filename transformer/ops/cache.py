"""Keys and values of positions already seen: arrays in, arrays out."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int


def empty(batch: int, length: int, heads: int, width: int, dtype: jnp.dtype) -> dict[str, Array]:
    """A cache of `length` slots: `key` and `value`, each B S K H, zero."""
    shape = (batch, length, heads, width)
    return {"key": jnp.zeros(shape, dtype), "value": jnp.zeros(shape, dtype)}


def write(
    slots_BSKH: Float[Array, "B S K H"], new_BTKH: Float[Array, "B T K H"], position_B: Int[Array, "B"]
) -> Float[Array, "B S K H"]:
    """`slots` with `new` at positions position_B .. position_B + T - 1, each example at its own."""

    def one(slots_SKH: Array, new_TKH: Array, position: Array) -> Array:
        return jax.lax.dynamic_update_slice(slots_SKH, new_TKH.astype(slots_SKH.dtype), (position, 0, 0))

    return jax.vmap(one)(slots_BSKH, new_BTKH, position_B)
