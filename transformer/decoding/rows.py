"""Rows of a cache: which axis of each array counts the examples, so that hypotheses can be copied and reordered.

The cache of a model is any tree of arrays: keys and values with a leading L, recurrent states, counters. The axis of
the examples is the one that grows by 1 where the batch has an example more; an array without it is shared by all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int

Tree = Any
"""A nested dict of arrays."""


def example_axes(
    start: Callable[[dict[str, Any]], Tree], batch: Mapping[str, Any], cache: Tree, shared: Sequence[str] = ()
) -> Tree:
    """Find the axis of the examples in each array of a cache; nothing is computed.

    Args:
        start: function of a batch that returns its cache.
        batch: arrays with a leading B.
        cache: `start(batch)`.
        shared: names of parts of the cache that are read once for all hypotheses of an example.

    Returns:
        A tree like the cache: the index of the axis, -1 where there is none or the part is shared.

    >>> start = lambda batch: {"key": jnp.zeros((2, len(batch["target"]), 5)), "index": jnp.zeros(())}
    >>> batch = {"target": jnp.ones((3, 4), int)}
    >>> example_axes(start, batch, start(batch))
    {'index': -1, 'key': 1}
    """
    larger = {
        name: jax.ShapeDtypeStruct((np.shape(x)[0] + 1, *np.shape(x)[1:]), jnp.result_type(x))
        for name, x in batch.items()
    }

    def axis(path: Any, one: Array, other: jax.ShapeDtypeStruct) -> int:
        if any(getattr(entry, "key", None) in shared for entry in path):
            return -1
        return next((i for i, (b, c) in enumerate(zip(one.shape, other.shape, strict=True)) if b != c), -1)

    return jax.tree_util.tree_map_with_path(axis, cache, jax.eval_shape(start, larger))


def repeat(cache: Tree, axes: Tree, count: int) -> Tree:
    """Return a cache in which each example stands `count` times, one after the other.

    >>> repeat({"index": jnp.arange(2)}, {"index": 0}, 2)["index"].tolist()
    [0, 0, 1, 1]
    """
    return jax.tree.map(lambda x, axis: x if axis < 0 else jnp.repeat(x, count, axis), cache, axes)


def take(cache: Tree, axes: Tree, row_R: Int[Array, "R"]) -> Tree:
    """Return a cache whose row r is the row `row_R[r]` of this one, one of 0 .. R - 1.

    >>> take({"index": jnp.arange(3)}, {"index": 0}, jnp.array([2, 0]))["index"].tolist()
    [2, 0]
    """

    def one(x: Array, axis: int) -> Array:
        # Of indices that are not checked XLA makes a copy at the speed of memory, of others one of a third of it.
        return x if axis < 0 else x.at[(slice(None),) * axis + (row_R,)].get(mode="promise_in_bounds")

    return jax.tree.map(one, cache, axes)
