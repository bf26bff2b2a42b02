"""Dropout: each entry is zero with probability `rate`, else divided by 1 - rate. Srivastava et al. 2014."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from transformer.axes import describe
from transformer.errors import problem


def random_key(key: ArrayLike) -> Array:
    """Return a random key as it is, and the key of a seed.

    Raises:
        UserError: neither a key nor a whole number.

    >>> random_key(0) == jax.random.key(0)
    Array(True, dtype=bool)
    """
    if isinstance(key, int) and not isinstance(key, bool):
        return jax.random.key(key)
    if hasattr(key, "dtype"):
        array = jnp.asarray(key)
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) and array.shape == ():
            return array
        if jnp.issubdtype(array.dtype, jnp.integer) and array.shape == ():
            return jax.random.key(array)
        if array.dtype == jnp.uint32 and array.shape == jax.random.key_data(jax.random.key(0)).shape:
            return jax.random.wrap_key_data(array)  # of jax.random.PRNGKey
    raise problem("not a random key", got=describe(key), expected="a key or a seed", do="Pass jax.random.key(0).")


def dropout(
    x: Float[Array, "*shape"], rate: "float | Float[Array, ''] | None", key: Array | None
) -> Float[Array, "*shape"]:
    """Drop entries of `x`; the rate may be a traced array, so a sweep can vary it in one program.

    Args:
        rate: from 0 to below 1. None compiles to nothing; 0.0 changes nothing.
        key: a typed key; needed unless the rate is None.

    Raises:
        UserError: a rate without a key, or outside its range.

    >>> dropout(jnp.ones((2, 5)), 0.1, jax.random.key(0)).shape
    (2, 5)
    """
    if rate is None:
        return x
    if isinstance(rate, int | float) and not 0 <= rate < 1:
        raise problem("a rate of dropout is a share of the entries", got=rate, expected="a number from 0 to below 1")
    if key is None:
        raise problem("dropout needs a random key", got=f"rate {rate} and no key", do="Pass key=jax.random.key(...).")
    kept = jax.random.uniform(key, x.shape, jnp.float32) >= rate
    return jnp.where(kept, x / (1.0 - jnp.asarray(rate, x.dtype)), 0).astype(x.dtype)
