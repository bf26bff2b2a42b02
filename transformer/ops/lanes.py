"""Functions of a batch under `vmap`: the mapped axis becomes part of the batch, for kernels that have no own rule.

f(x_BTNH) under vmap over R    f(x of R B rows), divided into R and B again
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def in_one_batch(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return the function with a rule for `vmap`, and for its gradient, that calls it on one larger batch.

    Args:
        function: of arrays whose first axis is that of the batch, to an array with this axis; each row of the result
            depends on the same row of the arrays alone.

    Returns:
        The same function. Its gradient computes the function again, as the same call, which a compiler may merge with
        the first.

    >>> rows = jnp.ones((3, 2, 4))
    >>> jax.vmap(in_one_batch(lambda x: x.reshape(-1, 2, 2)))(rows).shape
    (3, 2, 2, 2)
    """

    def value(*arrays: Array) -> Array:
        return jax.vjp(function, *arrays)[0]

    def slopes(cotangent: Array, *arrays: Array) -> tuple[Array, ...]:
        return tuple(jax.vjp(function, *arrays)[1](cotangent))

    value, slopes = _with_rule(value), _with_rule(slopes)
    call = jax.custom_vjp(value)
    call.defvjp(lambda *arrays: (value(*arrays), arrays), lambda arrays, cotangent: slopes(cotangent, *arrays))
    return call


def _with_rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with a rule for `vmap`: one call on R B rows."""
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def rule(size: int, is_mapped: list[bool], *arrays: Array) -> tuple[Any, Any]:
        full = (
            x if has_axis else jnp.broadcast_to(x, (size, *x.shape))
            for x, has_axis in zip(arrays, is_mapped, strict=True)
        )
        found = mapped(*(x.reshape(-1, *x.shape[2:]) for x in full))
        return jax.tree.map(lambda y: y.reshape(size, -1, *y.shape[1:]), found), jax.tree.map(lambda _: True, found)

    return mapped
