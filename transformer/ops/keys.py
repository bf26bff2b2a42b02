"""Random keys: typed ones, raw ones of older programs, and seeds in their place."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from transformer.axes import describe
from transformer.errors import problem

SEEDS = 2**32
"""Number of seeds: each of 0 .. 2^32 - 1 has a key of its own."""


def as_key(key: ArrayLike) -> Array:
    """Return a typed key.

    Args:
        key: a typed key, a raw key (an array of uint32), or a seed: a whole number from 0 to below 2^32, may be traced.

    Raises:
        UserError: anything else, also several keys at once.

    >>> bool(as_key(3) == jax.random.key(3))
    True
    """
    dtype, shape = getattr(key, "dtype", type(key)), getattr(key, "shape", ())
    if dtype is int or (shape == () and jnp.issubdtype(dtype, jnp.integer)):
        return _of_seed(key)
    if isinstance(key, Array) and shape == () and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    if dtype == jnp.uint32 and len(shape) == 1:
        try:
            return jax.random.wrap_key_data(jnp.asarray(key))
        except (TypeError, ValueError):  # another length than a key of this kind has
            pass
    raise problem(
        "a random key or a seed is needed",
        got=describe(key),
        expected="one key, or a whole number",
        do="Pass jax.random.key(0), or 0; map over several keys with jax.vmap.",
    )


def as_keys(key: ArrayLike, count: int) -> Array:
    """Return a typed key, or a typed key for each of `count` examples, B.

    Args:
        key: as for `as_key`, or B typed or raw keys.

    Raises:
        UserError: anything else, also another number of keys.

    >>> as_keys(jax.random.split(jax.random.key(0), 3), count=3).shape
    (3,)
    """
    shape: tuple[int, ...] = getattr(key, "shape", ())
    dtype: Any = getattr(key, "dtype", type(key))
    typed = isinstance(key, Array) and len(shape) == 1 and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and not (dtype == jnp.uint32 and len(shape) == 2):
        if len(shape) == 1 and jnp.issubdtype(dtype, jnp.integer) and dtype != jnp.uint32:
            do = "Pass jax.vmap(jax.random.key)(seeds)."
            raise problem("several seeds are no keys", got=describe(key), expected="one seed, or keys", do=do)
        return as_key(key)
    if shape[0] != count:
        expected = f"one key, or {count}: a key for each example"
        raise problem("another number of keys than examples", got=f"{shape[0]} keys", expected=expected)
    keys = jnp.asarray(key)
    return keys if typed else jax.vmap(as_key)(keys)


def _of_seed(seed: Any) -> Array:
    """Return the key of a seed; one that is known must be in range."""
    if not isinstance(seed, jax.core.Tracer) and not 0 <= operator.index(seed) < SEEDS:
        raise problem("a seed is out of range", got=seed, expected="0 or more, below 2^32")
    return jax.random.key(seed)
