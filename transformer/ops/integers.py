"""Integers of any type as int32, the type of ids, lengths and indices in every program."""

from typing import Any

import jax.numpy as jnp

LOWEST, HIGHEST = -(2**31), 2**31 - 1
"""The range of int32."""


def as_int32(numbers: Any) -> Any:
    """Return an array of integers, of JAX or NumPy, as int32; those beyond its range become the nearest in it.

    >>> as_int32(jnp.array([3, 2**32 - 1], jnp.uint32)).tolist()
    [3, 2147483647]
    """
    info = jnp.iinfo(numbers.dtype)
    if info.max > HIGHEST:
        numbers = numbers.clip(max(LOWEST, int(info.min)), HIGHEST)
    return numbers.astype(jnp.int32)
