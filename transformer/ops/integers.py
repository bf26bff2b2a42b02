"""Integers of any type as int32, the type of ids, lengths and indices in every program."""

import jax.numpy as jnp
import numpy as np
from jax import Array

LOWEST, HIGHEST = -(2**31), 2**31 - 1
"""The range of int32."""


def as_int32(numbers: Array | np.ndarray) -> Array | np.ndarray:
    """Return integers as int32; those beyond its range become the nearest in it.

    >>> as_int32(np.array([3, 2**40])).tolist()
    [3, 2147483647]
    """
    info = jnp.iinfo(numbers.dtype)
    if info.max > HIGHEST:
        numbers = numbers.clip(max(LOWEST, int(info.min)), HIGHEST)
    return numbers.astype(np.int32)
